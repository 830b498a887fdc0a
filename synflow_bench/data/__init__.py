"""Data sets: what one declares and gives, and where their files are. Imports no torch."""

from synflow_bench.data._dataset import Augmentation, Dataset, Split, Splits
from synflow_bench.data._location import DATA_VARIABLE, default_data_root, download_command

__all__ = [
    "DATA_VARIABLE",
    "Augmentation",
    "Dataset",
    "Split",
    "Splits",
    "default_data_root",
    "download_command",
]
