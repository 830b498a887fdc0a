"""How fast this machine is: measured network by network, kept in a file, and turned into seconds of cells."""

from synflow_bench.speed._book import Book, Machine, book_path
from synflow_bench.speed._measure import BRIEF, THOROUGH, Patience, measure
from synflow_bench.speed._sources import Sampled, Synthetic
from synflow_bench.speed._speed import Speed
from synflow_bench.speed._workload import Workload

__all__ = [
    "BRIEF",
    "THOROUGH",
    "Book",
    "Machine",
    "Patience",
    "Sampled",
    "Speed",
    "Synthetic",
    "Workload",
    "book_path",
    "measure",
]
