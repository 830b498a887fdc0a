"""Scoring data of a caller, in any common form, as inputs and labels that a network can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from synflow_bench.errors import UsageError, one_line
from synflow_bench.pruning.interface import Inputs, size_of

FORMS = "pass data=(inputs, labels), a Dataset, or an iterable of batches such as a DataLoader"
"""The forms of data, as error messages list them."""

LABELS = ("labels", "label", "targets", "target", "y")
"""The names of labels in a batch that is a dictionary."""

PAD = "pad them to one shape"
"""The way out where examples differ in length."""

READ = 256
"""The number of examples of a Dataset that are read at a time."""


def read_examples(data: Any, inputs: int = 1) -> tuple[Inputs, Tensor]:
    """Read inputs and labels from a pair, a Dataset, or an iterable of batches or of examples.

    Numpy arrays and lists of numbers become tensors. A batch or an example is a pair, or a dictionary whose
    labels are called `labels`, `label`, `targets`, `target` or `y`. Several inputs are a tuple or a
    dictionary in place of the inputs.

    Args:
        data: The data.
        inputs: The number of inputs of the network; with several, a batch may list them before the labels.

    Raises:
        UsageError: There is no example, or the data have another form.
    """
    batches = [_batch(batch, inputs) for batch in _batches(data)]
    if not batches:
        raise UsageError("data has no batch; pass data=(inputs, labels)")
    try:
        whole: Inputs = tree_map(_joined, batches[0][0], *(part for part, _ in batches[1:]))
        labels = _joined(batches[0][1], *(part for _, part in batches[1:]))
    except (RuntimeError, ValueError) as error:
        reason = one_line(error, with_type=False, first_line=True)
        raise UsageError(f"batches of data cannot be joined: {reason}; {PAD}") from error
    if not labels.dim():
        raise UsageError("data has one label without a dimension; pass labels (N,)")
    if not size_of(whole):
        raise UsageError(f"data has no example; {FORMS}")
    counts = {len(leaf) for leaf in tree_leaves(whole) if isinstance(leaf, Tensor) and leaf.dim()}
    if len(counts) > 1:
        raise UsageError(
            f"inputs of data have {' and '.join(map(str, sorted(counts)))} entries; every input needs one "
            "per example, and what all examples share, such as a mask, belongs into the network"
        )
    if counts != {len(labels)}:
        listed = isinstance(whole, tuple) and len(whole) == len(labels)
        raise UsageError(
            f"data has {counts.pop()} inputs and {len(labels)} labels; "
            f"{'stack a list of examples into one tensor' if listed else 'pass one label for each input'}"
        )
    return whole, labels


def first_example(data: Any, inputs: int = 1) -> Inputs | None:
    """Return the inputs of the first example of data that can be read several times; None of others."""
    if isinstance(data, Iterator):
        return None
    batch = next(_batches(data), None)
    return None if batch is None else _batch(batch, inputs)[0]


def has_classes_last(labels: Tensor, logits: Tensor) -> bool:
    """Return True for logits (N, T, K) of labels (N, T), where torch's losses take (N, K, T)."""
    places = labels.shape[1:]
    return logits.dim() > 2 and places == logits.shape[1:-1] and places != logits.shape[2:]


def class_numbers(labels: Tensor, logits: Tensor) -> Tensor:
    """Return labels as cross entropy takes them: class numbers (N, ...) int64, or probabilities (N, K).

    Labels of other integer types, whole floating-point numbers and a last dimension of one are converted.

    Args:
        labels: The labels of all examples.
        logits: The logits of some.

    Raises:
        UsageError: The labels are no classes of these logits.
    """
    classes = logits.shape[-1 if has_classes_last(labels, logits) else 1]
    if labels.is_floating_point():
        if labels.shape[1:] == logits.shape[1:] and classes > 1:
            return labels.to(logits)
        if not bool((labels == labels.round()).all()):
            raise UsageError(
                f"labels are {labels.dtype} of shape {tuple(labels.shape)}; pass class numbers, or a loss "
                "of your own with loss="
            )
    if labels.shape == (len(labels), *logits.shape[1:]) and bool((labels.sum(-1) == 1).all()) and classes > 1:
        return labels.to(logits)  # one-hot
    numbers = labels.long()
    if numbers.dim() == logits.dim() and numbers.shape[-1] == 1 and numbers.dim() > 1:
        numbers = numbers.squeeze(-1)
    counted = numbers[numbers != nn.CrossEntropyLoss().ignore_index]
    low, high = (int(counted.min()), int(counted.max())) if counted.numel() else (0, 0)
    if low < 0 or high >= classes:
        worst = low if low < 0 else high
        of_batch = "; if they are the examples of a batch, as in contrastive learning, pass a loss= for them"
        raise UsageError(
            f"label {worst} is out of range: the network has {classes} outputs, classes 0 to {classes - 1}"
            f"{of_batch if logits.dim() == 2 and classes == len(logits) else ''}"
        )
    return numbers


def _batches(data: Any) -> Iterator[Any]:
    if isinstance(data, str | bytes | Mapping | Number) or data is None:
        raise UsageError(f"data is a {type(data).__name__}; {FORMS}")
    if isinstance(data, Tensor | np.ndarray):
        raise UsageError(f"data has no labels; {FORMS}")
    if isinstance(data, tuple | list) and len(data) == 2 and _is_pair(*data):
        yield data
        return
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=READ)
        if not isinstance(data.dataset, IterableDataset) and not len(data.dataset):
            return
    if isinstance(data, DataLoader) and data.collate_fn is default_collate:
        data = copy(data)  # which draws from the caller's sampler
        data.collate_fn, data._iterator = _collated, None
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise UsageError(f"data is a {type(data).__name__}; {FORMS}")
    yield from _grouped(_checked(data))


def _checked(data: Iterable[Any]) -> Iterator[Any]:
    """Yield what `data` yields; its errors in one line."""
    iterator = iter(data)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise UsageError(_reason(error)) from error
        yield item


def _reason(error: Exception) -> str:
    """Say in one line why data cannot be read; that of a worker process ends with the error's own."""
    text = str(error).strip()
    caught = text.startswith("Caught ") and "DataLoader worker" in text.partition("\n")[0]
    line = text.splitlines()[-1] if caught else one_line(error, first_line=True)
    kind, _, message = line.partition(": ")
    if kind.endswith(UsageError.__name__):
        return message
    way_out = PAD if "equal size" in line else "its examples must be tensors or arrays"
    return f"data cannot be read: {line}; {way_out}"


def _collated(examples: list[Any]) -> Any:
    """Put examples together as torch does, with tensors for lists of numbers, which torch transposes."""
    return default_collate([_example(example) for example in examples])


def _example(example: Any) -> Any:
    return tuple(map(_arrays, example)) if isinstance(example, tuple | list) else _arrays(example)


def _arrays(part: Any, *, named: bool = False) -> Any:
    """Return an input or a label of one example with tensors for lists of numbers.

    Several inputs are a tuple, a dictionary, or a list of tensors that has no name in a dictionary.
    """
    if isinstance(part, Mapping):
        return {name: _arrays(value, named=True) for name, value in part.items()}
    if isinstance(part, tuple) and not named:
        return tuple(map(_arrays, part))
    is_array = isinstance(part, tuple | list) and (named or not _has_tensors(part))
    return _tensor(part) if is_array else part


def _grouped(items: Iterator[Any]) -> Iterator[Any]:
    """Yield batches; single examples, whose labels are single numbers, are put into batches of one."""
    for item in items:
        named = isinstance(item, Mapping) and any(_is_single(item[name]) for name in LABELS if name in item)
        if named or (isinstance(item, tuple | list) and len(item) == 2 and _is_single(item[1])):
            yield tree_map(lambda leaf: _tensor(leaf)[None], _example(item))
        else:
            yield item


def _is_pair(inputs: Any, labels: Any) -> bool:
    """Return True for inputs and labels, False for two batches."""
    if isinstance(inputs, tuple | list):
        if inputs and all(isinstance(part, list) and not _has_tensors(part) for part in inputs):
            listed = isinstance(labels, tuple | list) and all(map(_is_single, labels))
            return listed or isinstance(labels, Tensor | np.ndarray)
        return isinstance(labels, Tensor | np.ndarray) and all(
            isinstance(part, Tensor | np.ndarray | Mapping) or _has_tensors(part) for part in inputs
        )
    return isinstance(inputs, Tensor | np.ndarray | Mapping) and not isinstance(labels, Mapping)


def _is_single(label: Any) -> bool:
    if isinstance(label, Tensor | np.ndarray):
        return label.ndim == 0
    return isinstance(label, Number | np.generic)


def _batch(batch: Any, inputs: int) -> tuple[Inputs, Tensor]:
    if isinstance(batch, Mapping):
        named = dict(batch)
        found = [name for name in LABELS if name in named]
        if not found:
            raise UsageError(f"a batch of data has {', '.join(map(repr, named))}; call its labels 'labels'")
        labels = named.pop(found[0])
        if not named:
            raise UsageError("a batch of data has labels only; add the inputs by their names")
        labels = _of_batch(labels)
        return {str(name): _of_batch(value, len(labels)) for name, value in named.items()}, labels
    if not isinstance(batch, tuple | list):
        what = "is a tensor without labels" if isinstance(batch, Tensor) else f"is a {type(batch).__name__}"
        raise UsageError(f"a batch of data {what}; {FORMS}")
    if inputs > 1 and len(batch) == inputs + 1:
        return tuple(_tensor(part) for part in batch[:-1]), _tensor(batch[-1])
    if len(batch) != 2:
        raise UsageError(
            f"a batch of data has {len(batch)} parts; make it (inputs, labels), or ((first, second), labels) "
            "for a network of several inputs"
        )
    given, labels = batch
    inputs_given = _nested(given)
    whole = tuple(inputs_given) if isinstance(inputs_given, list) else inputs_given
    return whole, _of_batch(labels, size_of(whole))


def _of_batch(value: Any, size: int | None = None) -> Tensor:
    """Return what a batch has under a name as a tensor with examples in dimension 0.

    A list may have a tensor for every example, or, as torch puts lists of numbers together, a tensor of all
    examples for every place.

    Args:
        value: A tensor, an array, or a list.
        size: The number of examples, if it is known.

    Raises:
        UsageError: It may be either.
    """
    whole, leaf, depth = _tensor(value), value, 0
    while isinstance(leaf, tuple | list) and leaf:
        leaf, depth = leaf[0], depth + 1
    if not depth or not isinstance(leaf, Tensor) or leaf.dim() != 1 or size not in (None, len(leaf)):
        return whole
    if size is not None and size != len(whole):
        return whole.movedim(-1, 0)
    raise UsageError(
        f"a batch of data has a list of {len(whole)} tensors of {len(leaf)} numbers, of which either may be "
        "the examples; stack them into one tensor, examples first"
    )


def _nested(value: Any) -> Inputs:
    """Return tensors in the dictionaries, tuples and lists of `value`."""
    if isinstance(value, Mapping):
        return {str(name): _nested(part) for name, part in value.items()}
    if _has_tensors(value):
        return [_nested(part) for part in value] if isinstance(value, list) else tuple(map(_nested, value))
    return _tensor(value)


def _has_tensors(value: Any) -> bool:
    """Return True for a tuple or a list of several inputs, False for one of numbers."""
    return isinstance(value, tuple | list) and any(
        isinstance(part, Tensor | np.ndarray | Mapping) or _has_tensors(part) for part in value
    )


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach() if value.layout is torch.strided else value.detach().to_dense()
    try:
        if isinstance(value, tuple | list) and _has_tensors(value):
            return torch.stack([_tensor(part) for part in value])
        return torch.as_tensor(np.asarray(value) if not isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        if any(word in str(error) for word in ("equal size", "inhomogeneous")):
            raise UsageError(f"data has lists of different lengths; {PAD}") from error
        raise UsageError(
            f"data has a {type(value).__name__} that is no array of numbers; convert it to a tensor"
        ) from error


def _joined(*parts: Any) -> Any:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def as_inputs(given: Any) -> Inputs:
    """Return example inputs as tensors: one, a tuple of them, or a dictionary by name.

    Raises:
        UsageError: They are something else.
    """
    if isinstance(given, Tensor | np.ndarray):
        return _tensor(given)
    if isinstance(given, Mapping):
        found: Inputs = {str(name): _leaf(value) for name, value in given.items()}
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        found = tuple(_leaf(value) for value in given)
        found = found[0] if len(found) == 1 and isinstance(found[0], Tensor) else found
    else:
        raise UsageError(f"example_inputs is a {type(given).__name__}; pass a tensor or a tuple of tensors")
    if not size_of(found):
        raise UsageError("example_inputs has no example; pass tensors with their examples in dimension 0")
    return found


def _leaf(value: Any) -> Any:
    return _nested(value) if isinstance(value, Tensor | np.ndarray | list | Mapping) else value
