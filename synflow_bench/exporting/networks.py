"""Export of masked networks: physically smaller where units are dead, as ONNX, `torch.export` or tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synflow_bench.compaction import CompactNetwork, compact, same_logits
from synflow_bench.errors import UsageError
from synflow_bench.exporting.folding import fold_batch_norm
from synflow_bench.exporting.formats import (
    WRITERS,
    Format,
    Run,
    check_format,
    check_opset,
    run_network,
    write_onnx,
)
from synflow_bench.exporting.latency import Latency, measure_latencies, one_thread
from synflow_bench.exporting.state_dict import write_state_dict
from synflow_bench.files import EXPORT_SUFFIXES, check_suffix, replacement
from synflow_bench.graph import Graph, Untraceable, reachable, trace, unwrapped
from synflow_bench.pruning import (
    Masks,
    allow_removed_units,
    check_network,
    copy_network,
    gradients_enabled,
    in_eval_mode,
)
from synflow_bench.training import is_tokens

BATCHES = (1, 64)
"""The batch sizes at which latencies are measured."""

TOLERANCE = 1e-5
"""The difference of logits, as a share of the largest one, that rounding explains."""


@dataclass(frozen=True)
class Exported:
    """What was exported, and how it compares with the whole masked network.

    Attributes:
        path: The file.
        format: Its format.
        size: The bytes of the file.
        whole_size: The bytes of the parameters and buffers of the whole network.
        share: The share of parameters and buffers that is left.
        hindrance: What keeps dead units in the network; None if nothing does, if there are none, or if they
            were to stay.
        difference: The largest difference of a logit of the file and the masked network; infinite where only
            one of the two is a number.
        largest_logit: The largest absolute logit of the masked network that is finite.
        latencies: The measured latencies, if they were asked for.
    """

    path: Path
    format: Format
    size: int
    whole_size: int
    share: float
    hindrance: str | None
    difference: float
    largest_logit: float
    latencies: tuple[Latency, ...] = ()

    @property
    def is_exact(self) -> bool:
        """True if the logits differ by no more than `TOLERANCE` of the largest one."""
        return self.difference <= TOLERANCE * self.largest_logit


@gradients_enabled()
def export(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    path: str | Path,
    inputs: Tensor,
    *,
    format: Format = "onnx",
    compact: bool = True,
    fold: bool = False,
    opset: int | None = None,
    latency: bool = False,
) -> Exported:
    """Write a masked network to a file, smaller where units are dead; the network itself is left as it is.

    A unit is dead if no path of kept weights leads from it to the output. The file computes what the masked
    network computes in evaluation mode, except for rounding, for batches of any size.

    Args:
        model: The network, with trained weights.
        masks: Bool tensors by parameter name, True for kept weights.
        path: The file, with the suffix of the format or none; an existing one is replaced.
        inputs: Examples (N, ...), best real ones, with which the file is compared and timed.
        format: "onnx", "pt2" (`torch.export`), or "state-dict" (safetensors, for `load_compact`).
        compact: Leave dead units out.
        fold: Fold batch norm into the convolutions before it.
        opset: The opset of ONNX; by default that of torch's exporter.
        latency: Measure latencies on one thread, in torch and for ONNX in onnxruntime too.

    Raises:
        UsageError: If an argument cannot be used, or the extra `onnx` is not installed.
        ModelError: If the network cannot take the inputs.
        ExportError: If the format cannot hold the network.
        RecordError: If the file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> masks = {"2.weight": torch.arange(8).expand(2, 8) < 3}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = export(model, masks, f"{folder}/m.safetensors", torch.ones(2, 4), format="state-dict")
        >>> round(found.share, 2), found.is_exact
        (0.4, True)
    """
    _check(model, masks, format, inputs, opset)
    check_suffix(Path(path), EXPORT_SUFFIXES[format], f"format {format!r}")
    model, prefix = unwrapped(model)
    kept = {name.removeprefix(prefix): mask.cpu() for name, mask in masks.items()}
    whole = with_masks(model, kept)
    # A clone, since tensors of inference mode cannot be traced.
    inputs = inputs.detach().cpu().clone()
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    expected = run_network(whole, inputs)
    small, share, hindrance = smaller(whole, kept, inputs) if compact else (whole, 1.0, None)
    if fold:
        small = fold_batch_norm(small)
    target = Path(path)
    with one_thread(), replacement(target) as temporary:
        if format == "state-dict":
            run = write_state_dict(small, _on_cpu(model), temporary, folded=fold)
        else:
            run = WRITERS[format](small, temporary, inputs, opset)
        found = run(inputs)
        size = temporary.stat().st_size
        latencies: tuple[Latency, ...] = ()
        if latency:
            latencies = _latencies(whole, small, inputs, run if format == "onnx" else None, opset)
    return Exported(
        path=target,
        format=format,
        size=size,
        whole_size=_bytes(whole),
        share=share,
        hindrance=hindrance,
        difference=_largest_difference(found, expected),
        largest_logit=float(expected.abs().nan_to_num(0, 0, 0).max()),
        latencies=latencies,
    )


def with_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network in evaluation mode, on the CPU in float32, whose removed weights are zero.

    Raises:
        HandledError: The masks do not fit the network.
    """
    whole = _on_cpu(model)
    allow_removed_units(whole)
    Masks(masks).apply_(whole)
    return whole


def _on_cpu(model: nn.Module) -> nn.Module:
    return in_eval_mode(copy_network(model).cpu().float())


def smaller(
    whole: nn.Module, masks: Mapping[str, Tensor], inputs: Tensor
) -> tuple[nn.Module, float, str | None]:
    """Return a network without dead units, the share that is left, and what keeps dead units in it.

    Args:
        whole: The network in evaluation mode, with masked weights zero.
        masks: Its masks.
        inputs: Examples.
    """
    shape = tuple(inputs.shape[1:])
    graph = trace(whole, inputs[:1])
    if reason := _hindrance(graph, masks):
        return whole, 1.0, reason
    same = partial(same_logits, modes=(False,)) if inputs.is_floating_point() else _not_compared
    found: CompactNetwork | None = compact(whole, masks, graph, shape, same=same, max_share=1.0)
    if found is None:
        return (
            whole,
            1.0,
            "without its dead units the network fails or computes something else: its code, or a layer such "
            "as an instance norm without parameters, relies on its own sizes",
        )
    small = in_eval_mode(found.model)
    bound = _dead(trace(small, inputs[:1]), found.masks)
    if not bound:
        return small, found.share, None
    return (
        small,
        found.share,
        (
            f"{bound} dead channels or features stay: every layer keeps one, sums, groups of convolutions "
            "or shared statistics bind others together, and layers whose weights are computed, as by weight "
            "norm, stay whole"
        ),
    )


def _dead(graph: Graph | Untraceable, masks: Mapping[str, Tensor]) -> int:
    """Count the nodes that no path of kept weights leads to the output."""
    if isinstance(graph, Untraceable):
        return 0
    return int(reachable(graph, masks).to_output.logical_not().count_nonzero())


def _not_compared(*_: Any) -> bool:
    return True  # the file is compared


def _hindrance(graph: Graph | Untraceable, masks: Mapping[str, Tensor]) -> str | None:
    if isinstance(graph, Untraceable):
        return graph.reason
    if hidden := graph.opaque & masks.keys():
        return (
            f"the network computes with {min(hidden)!r} before it is used as a weight, as weight norm and "
            "spectral norm do, so that its dead units are not known; prune a network without this, such as "
            "after torch.nn.utils.parametrize.remove_parametrizations"
        )
    return None


def stand_in(shape: Sequence[int], number: int) -> Tensor:
    """Return inputs (N, ...) for a network without data: normal numbers, or the first token throughout."""
    if is_tokens(shape):
        return torch.zeros(number, *shape, dtype=torch.int64)
    return torch.randn(number, *shape, generator=torch.Generator().manual_seed(0))


def _largest_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference; a network that has diverged gives NaN on both sides."""
    if found.shape != expected.shape:
        return float("inf")
    same = (found == expected) | (found.isnan() & expected.isnan())
    return float((found - expected).abs().nan_to_num(float("inf")).masked_fill(same, 0).max())


def _check(model: Any, masks: Any, format: str, inputs: Any, opset: int | None) -> None:
    check_format(format)
    check_network(model)
    if not isinstance(masks, Mapping) or not masks or not all(map(_is_mask, masks.values())):
        raise UsageError("masks are bool tensors by the names of parameters, as `prune` returns them")
    if not isinstance(inputs, Tensor) or inputs.dim() < 2 or not len(inputs):
        raise UsageError("inputs are a batch of examples, a tensor (N, ...)")
    if opset is not None:
        check_opset(opset, format)


def _is_mask(mask: Any) -> bool:
    return isinstance(mask, Tensor) and mask.dtype is torch.bool


def _bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def _latencies(
    whole: nn.Module, small: nn.Module, inputs: Tensor, run: Run | None, opset: int | None
) -> tuple[Latency, ...]:
    pairs: dict[str, tuple[Run, Run]] = {"torch": (partial(run_network, whole), partial(run_network, small))}
    if run is not None:
        with tempfile.TemporaryDirectory() as folder:
            pairs["onnxruntime"] = write_onnx(whole, Path(folder) / "whole.onnx", inputs, opset), run
    return tuple(
        latency
        for runtime, (before, after) in pairs.items()
        for latency in measure_latencies(runtime, before, after, inputs, BATCHES)
    )
