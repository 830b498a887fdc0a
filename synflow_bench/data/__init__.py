"""Data sets: what one declares and gives, and where their files are. Imports no torch."""

from synflow_bench.data._dataset import Augmentation, Dataset, Read, Split, Splits, StreamedSplit
from synflow_bench.data._location import DATA_VARIABLE, default_data_root, download_command

__all__ = [
    "DATA_VARIABLE",
    "Augmentation",
    "Dataset",
    "Read",
    "Split",
    "Splits",
    "StreamedSplit",
    "default_data_root",
    "download_command",
]
