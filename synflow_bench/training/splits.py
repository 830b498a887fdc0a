"""The check of what a dataset has loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synflow_bench.data import (
    Dataset,
    InvalidDatasetError,
    Split,
    Splits,
    StreamedSplit,
    check_declared,
)


def check_splits(splits: Any, dataset: Dataset) -> Splits:
    """Check that a dataset has loaded what the contract asks for, without reading streamed images.

    Raises:
        InvalidDatasetError: It has not; the message says what is wrong with which split.
    """
    check_declared(dataset)
    if not isinstance(splits, Splits):
        raise InvalidDatasetError(f"load() returns a {type(splits).__name__}; return Splits(train, test)")
    declared = tuple(dataset.input_shape)
    dtype = torch.int64 if len(declared) == 1 else torch.uint8  # a sequence of tokens has one dimension
    asked = f"{_name_of(dtype)} of shape (N, {', '.join(map(str, declared))})"
    for name in ("train", "test"):
        split = getattr(splits, name)
        if not isinstance(split, Split | StreamedSplit):
            raise InvalidDatasetError(
                f"its {name} set is a {type(split).__name__}; give a Split or a StreamedSplit"
            )
        labels = split.labels
        if not isinstance(labels, torch.Tensor):
            raise InvalidDatasetError(
                f"its {name} labels are a {type(labels).__name__}; give a torch.Tensor of int64"
            )
        if labels.dtype is not torch.int64 or labels.dim() != 1:
            raise InvalidDatasetError(f"its {name} labels are {_kind_of(labels)}; give int64 of shape (N,)")
        if isinstance(split, Split):
            images = split.images
            if not isinstance(images, torch.Tensor):
                raise InvalidDatasetError(
                    f"its {name} images are a {type(images).__name__}; give a torch.Tensor of "
                    f"{_name_of(dtype)}"
                )
            if images.dtype is not dtype or tuple(images.shape[1:]) != declared:
                raise InvalidDatasetError(f"its {name} images are {_kind_of(images)}; it declares {asked}")
        count = len(split.images if isinstance(split, Split) else split.items)
        if count != len(labels) or not count:
            raise InvalidDatasetError(
                f"its {name} set has {count} images and {len(labels)} labels; give one for each"
            )
        low, high = int(labels.min()), int(labels.max())
        if not 0 <= low <= high < dataset.num_classes:
            raise InvalidDatasetError(
                f"its {name} labels go from {low} to {high}; it needs one label below {dataset.num_classes} "
                "for every image"
            )
    return splits


def _kind_of(tensor: Tensor) -> str:
    return f"{_name_of(tensor.dtype)} of shape {tuple(tensor.shape)}"


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
