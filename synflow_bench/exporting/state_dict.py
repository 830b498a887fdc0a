"""Tensors of compact networks as safetensors, and the small network that they are loaded into.

The shapes of the tensors say all: the code of the network is the user's own, and its layers are made as small
as the tensors are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from synflow_bench.compaction import update_sizes
from synflow_bench.errors import RecordError, UsageError, one_line
from synflow_bench.exporting.folding import fold_batch_norm
from synflow_bench.exporting.formats import ExportError, Run, one_line_errors, run_network
from synflow_bench.graph import unwrapped
from synflow_bench.pruning import (
    check_network,
    copy_network,
    gradients_enabled,
    in_eval_mode,
    loadable_state,
)
from synflow_bench.records.mask_files import file_facts, is_packed, metadata_of

_FOLDED = "folded"


def state_file(model: nn.Module, whole: nn.Module | None = None, *, folded: bool = False) -> bytes:
    """Return the content of a safetensors file of all parameters and buffers.

    Buffers that a state does not save are left out, unless they are smaller than those of `whole`.

    Args:
        model: The network.
        whole: The network from which it was made.
        folded: Batch norm was folded, which `load_compact` has to know.

    Raises:
        ExportError: The network has a state that is no tensor.
    """
    state = loadable_state(model)
    if whole is not None:
        before = dict(whole.named_buffers())
        state |= {
            name: buffer
            for name, buffer in model.named_buffers()
            if name not in state and name in before and buffer.shape != before[name].shape
        }
    with one_line_errors("state-dict"):
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise ExportError(f"{name!r} is a {type(value).__name__} and no tensor; use another format")
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}
        return save_tensors(tensors, metadata_of({_FOLDED: folded}))


def write_state_dict(small: nn.Module, whole: nn.Module, path: Path, *, folded: bool) -> Run:
    """Write the tensors of a network, and return a function that runs what is loaded from them.

    Args:
        small: The network.
        whole: The network from which it was made, as a user builds it: the tensors are loaded into it.
        path: The file.
        folded: Batch norm was folded.

    Raises:
        ExportError: The network has a state that is no tensor.
    """
    path.write_bytes(state_file(small, whole, folded=folded))
    return partial(run_network, load_compact(path, whole))


@gradients_enabled()
def load_compact(path: str | Path, model: nn.Module) -> nn.Module:
    """Load the tensors of a compact network into a copy of a network, which becomes as small as they are.

    Args:
        path: A file that `export(..., format="state-dict")` has written.
        model: The whole network, with any weights; it is left as it is.

    Returns:
        The compact network, on the device of `model` and with its types, in evaluation mode.

    Raises:
        RecordError: The file cannot be read, or holds no such tensors.
        UsageError: The tensors do not fit the network.
        ModelError: The network has no values, or cannot be copied.

    Example:
        >>> import tempfile, torch
        >>> from synflow_bench.exporting import export
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> masks = {"2.weight": torch.arange(8).expand(2, 8) < 3}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/m.safetensors"
        ...     found = export(model, masks, path, torch.ones(2, 4), format="state-dict")
        ...     small = load_compact(path, model)
        >>> small[0]
        Linear(in_features=4, out_features=3, bias=True)
    """
    check_network(model)
    tensors, folded = _read(Path(path))
    copy = in_eval_mode(copy_network(unwrapped(model)[0]))
    small = fold_batch_norm(copy) if folded else copy
    _check_names(tensors, small, path)
    if _put(tensors, small):
        for module in small.modules():
            update_sizes(module)
    return small


def _read(path: Path) -> tuple[dict[str, Tensor], bool]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    try:
        tensors = load_tensors(data)
        folded = bool(file_facts(data).get(_FOLDED))
    except (SafetensorError, RecordError, ValueError) as error:
        reason = one_line(error, with_type=False)
        raise RecordError(f"{str(path)!r} is not a safetensors file: {reason}") from error
    if is_packed(data):
        raise RecordError(f"{str(path)!r} has masks and no weights; name an exported file")
    return tensors, folded


def _check_names(tensors: Mapping[str, Tensor], model: nn.Module, path: str | Path) -> None:
    known = {**dict(model.named_buffers(remove_duplicate=False)), **model.state_dict()}
    for names, reason in (
        (model.state_dict().keys() - tensors.keys(), "lacks"),
        (tensors.keys() - known.keys(), "has beyond the network"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(f"{str(path)!r} {reason} {min(names)!r}{more}; give the network it was made of")
    for name, tensor in tensors.items():
        own = known[name].shape
        if len(own) != tensor.dim() or any(a > b for a, b in zip(tensor.shape, own, strict=True)):
            raise UsageError(
                f"{name!r} of {str(path)!r} has shape {tuple(tensor.shape)} and {tuple(own)} in the network; "
                "give the network it was made of"
            )


def _put(tensors: Mapping[str, Tensor], model: nn.Module) -> bool:
    """Put tensors in the place of parameters and buffers, tied ones tied; return True if some are smaller."""
    smaller = False
    placed: dict[int, tuple[Tensor, Tensor]] = {}  # with what they replace, whose id would be used again
    for name, tensor in tensors.items():
        place, _, leaf = name.rpartition(".")
        module = model.get_submodule(place)
        own: Tensor = getattr(module, leaf)
        smaller |= own.shape != tensor.shape
        if id(own) not in placed:
            new = tensor.to(own.device, own.dtype)
            is_parameter = isinstance(own, nn.Parameter)
            placed[id(own)] = own, nn.Parameter(new, own.requires_grad) if is_parameter else new
        setattr(module, leaf, placed[id(own)][1])
    return smaller
