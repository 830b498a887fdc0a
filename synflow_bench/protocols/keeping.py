"""Keeping the masks and weights of cells, beside their records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from synflow_bench.files import write_atomically
from synflow_bench.protocols.context import Outcome
from synflow_bench.pruning import loadable_state
from synflow_bench.records import Kind, Record, Store, facts_of, kept_path
from synflow_bench.records.mask_files import metadata_of, pack_masks, tensors_digest


@dataclass(frozen=True)
class KeepFiles:
    """Writes the masks and weights of finished cells; called in the process that has run a cell.

    Attributes:
        root: The results folder.
        kinds: What to keep.
    """

    root: Path
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, results: Path | None, kinds: tuple[Kind, ...]) -> KeepFiles | None:
        """Return what keeps these kinds of files, None if that is nothing."""
        return cls(results.absolute(), kinds) if results and kinds else None

    def __call__(self, record: Record, outcome: Outcome) -> None:
        """Write the files of one cell.

        Raises:
            RecordError: A file cannot be written.
        """
        path = Store(self.root).path(record.cell)
        for kind in self.kinds:
            write_atomically(kept_path(path, kind), _CONTENTS[kind](record, outcome))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters and buffers of a network, on the CPU, for `load_state_dict`."""
    return {name: tensor.detach().cpu().clone() for name, tensor in loadable_state(model).items()}


def _masks(record: Record, outcome: Outcome) -> bytes:
    masks = {name: mask.cpu().numpy() for name, mask in outcome.masks.items()}
    return pack_masks(masks, facts_of(record))


def _weights(record: Record, outcome: Outcome) -> bytes:
    tensors = {name: tensor.contiguous() for name, tensor in weights_of(outcome.model).items()}
    return save(tensors, metadata_of({**facts_of(record), "tensors": tensors_digest(save(tensors))}))


_CONTENTS = {"masks": _masks, "weights": _weights}
