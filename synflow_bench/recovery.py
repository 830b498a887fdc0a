"""Masks and weights of a record: kept ones, or those of the pruning or the whole cell run again.

A pruning at initialization is repeated without training. Equal versions on equal hardware give equal bits;
what differs elsewhere is described, never hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from synflow_bench.errors import RecordError, UsageError, count, one_line
from synflow_bench.files import write_atomically
from synflow_bench.host import Host
from synflow_bench.protocols import (
    Outcome,
    WorkerContext,
    build_network,
    plugins_of,
    prune_cell,
    revisions_of,
    run_cell,
    weights_of,
)
from synflow_bench.pruning import Masks, TrainingPruner, in_eval_mode
from synflow_bench.records import Record, Store, content_digest, read_kept
from synflow_bench.records.mask_files import unpack_masks
from synflow_bench.suites import seed_of
from synflow_bench.training import (
    LoadedData,
    ResidentSplit,
    process_restored,
    resolve_device,
    set_up_process,
)

Weights = Mapping[str, Tensor]
"""Parameters and buffers by name, as `state_dict` has them."""


@dataclass(frozen=True)
class Recovered:
    """Masks and weights of a record.

    Attributes:
        masks: The masks.
        weights: The trained weights, if they were asked for.
        origin: Where they are from, in a few words.
        difference: One line that says in what they differ from the record; None if they do not.
    """

    masks: Masks
    weights: Weights | None
    origin: str
    difference: str | None = None


@dataclass(frozen=True)
class Recovery:
    """The plugins, data and device with which records are recovered.

    Attributes:
        host: The plugins.
        store: The results folder.
        data_root: The data folder.
        device: A device, or `auto`; by default the CPU for records that were made on one.
        report: Called with a line before something is run again.
        may_train: Run the trainings too that a pruning needs which does not come first.
    """

    host: Host
    store: Store
    data_root: Path
    device: str | None = None
    report: Callable[[str], None] = lambda _: None
    may_train: bool = True

    def recover(self, record: Record, *, weights: bool = False, again: bool = False) -> Recovered:
        """Return the masks of a record, and its weights if they are wanted.

        Kept ones are read. Otherwise the pruning is run again, or for weights the whole cell.

        Args:
            record: The record of a cell that succeeded.
            weights: Return the weights too.
            again: Run again even if they were kept, and compare with the kept ones.

        Raises:
            RecordError: The record has no masks, or a plugin that made it has changed.
            UnknownNameError: A plugin that made it is not installed.
            HandledError: The cell cannot be run here, such as a `DataMissingError`.
        """
        if record.status != "ok":
            happened = "has failed" if record.status == "failed" else "was skipped"
            raise RecordError(f"record {record.key} is of a cell that {happened}; it has no masks")
        if record.masks is None:
            raise RecordError(
                f"record {record.key} has no hash of masks to compare with; `run --force` makes a new one"
            )
        path = self.store.path(record.cell)
        kept_masks = read_kept(record, path, "masks")
        kept_weights = read_kept(record, path, "weights") if weights else None
        if kept_masks and bool(kept_weights) == weights and not again:
            return Recovered(_masks_in(kept_masks), _weights_in(kept_weights), "kept by the run")
        check_repeatable(record, self.host)
        found = self._run(record) if weights or self._changes_in_training(record) else self._prune(record)
        difference = _difference(found, record, _masks_in(kept_masks) if kept_masks else None)
        if difference is None and weights and kept_weights and again:
            difference = _difference_of_weights(found.weights or {}, _weights_in(kept_weights) or {})
        return replace(found, difference=found.difference or difference)

    def network(self, record: Record, *, again: bool = False) -> tuple[nn.Module, Recovered]:
        """Return the trained network of a record in evaluation mode, on the CPU, with masks and weights.

        Args:
            record: As for `recover`, like `again` and the errors.
        """
        found = self.recover(record, weights=True, again=again)
        check_repeatable(record, self.host, ("dataset", "model"))
        setting = record.cell.setting
        dataset = self.host.dataset(setting.dataset, self.data_root)
        factory = self.host.models.get(setting.model.name)
        size = dataset.input_shape, dataset.num_classes
        # What a network draws and its state does not hold is that of the cell.
        seed = seed_of(record.cell, "ablation" if record.cell.ablation == "reinit" else "init")
        model = build_network(factory, setting.model, *size, seed, torch.device("cpu")).model
        try:
            model.load_state_dict(found.weights or {})
        except RuntimeError as error:
            raise RecordError(
                f"the weights of record {record.key} do not fit model {setting.model.name!r}: "
                f"{one_line(error, with_type=False)}"
            ) from error
        return in_eval_mode(model), found

    def _changes_in_training(self, record: Record) -> bool:
        """Return True if the masks of a record are those at the end of its training.

        Raises:
            RecordError: They are, and nothing may be trained.
        """
        cell = record.cell
        if cell.is_dense or not issubclass(self.host.pruners.get(cell.pruner.name), TrainingPruner):
            return False
        if not self.may_train:
            raise RecordError("its masks change in training; keep them with `run --keep masks`")
        return True

    def _prune(self, record: Record) -> Recovered:
        cell = record.cell
        earlier = cell.setting.protocol.trainings(cell.setting.recipe.epochs)[:-1]
        if sum(earlier) and not self.may_train:
            trained = count(sum(earlier), "epoch")
            raise RecordError(f"its masks come after a training of {trained}; keep them: `run --keep masks`")
        with self._context(record) as context:
            if earlier:
                self.report(
                    f"training {count(sum(earlier), 'epoch')}, because the cell is pruned after training"
                )
            elif cell.is_dense or not context.host.pruners.get(cell.pruner.name).needs_data:
                context = _without_examples(record, context)
            masks = prune_cell(cell, context).masks
        return Recovered(masks.to("cpu"), None, "pruned again" + (" after training again" if earlier else ""))

    def _run(self, record: Record) -> Recovered:
        """Run the cell again; its new record is compared with the old one."""
        ends: list[tuple[Record, Outcome]] = []
        self.report(f"training {count(record.cell.setting.total_epochs, 'epoch')} again")
        with self._context(record) as context:
            new = run_cell(record.cell, replace(context, on_outcome=lambda *end: ends.append(end)))
        if new.error or not ends:
            raise RecordError(f"the cell of record {record.key} fails when it is run again: {new.error}")
        outcome = ends[0][1]
        differs = content_digest(new) != content_digest(record) and new.masks == record.masks
        return Recovered(
            outcome.masks.to("cpu"),
            weights_of(outcome.model),
            "run again",
            _other_result(new, record) if differs else None,
        )

    @contextmanager
    def _context(self, record: Record) -> Iterator[WorkerContext]:
        made_on_cpu = record.provenance.device.startswith("cpu")
        device = resolve_device(self.device or ("cpu" if made_on_cpu else "auto"))
        threads = record.provenance.threads
        with process_restored():
            set_up_process(device, threads)
            alone = record.provenance.engine in {"graphed", "shrunk"}
            context = WorkerContext(self.host, self.data_root, device, threads, alone=alone)
            try:
                yield context
            finally:
                context.close()


KINDS = ("dataset", "model", "pruner")
"""The kinds of plugins that make a record."""


def check_repeatable(record: Record, host: Host, kinds: Iterable[str] = KINDS) -> None:
    """Check that the plugins that made a record are installed, in the revisions that made it.

    Args:
        record: The record.
        host: The plugins.
        kinds: The kinds of plugins that are needed.

    Raises:
        UnknownNameError: One is not installed.
        RecordError: One has another revision, or another content.
    """
    cell, made_by = record.cell, record.provenance.plugins
    every = {
        "dataset": cell.setting.dataset_name,
        "model": cell.setting.model.name,
        "pruner": cell.pruner.name,
    }
    names = {kind: every[kind] for kind in kinds if not (kind == "pruner" and cell.is_dense)}
    for kind, name in names.items():
        if name not in host.registry(kind):
            origin = made_by.get(kind, "a plugin that is not known")
            raise UsageError(
                f"{kind} {name!r} of record {record.key} is not installed; it came from {origin}"
            )
    now = revisions_of(cell.setting, names.get("pruner"), host)
    for kind, name in names.items():
        before, here = cell.revisions.identity[kind], now.identity[kind]
        if before != here:
            raise RecordError(
                f"record {record.key} was made by revision {before} of {kind} {name!r}, here is "
                f"revision {here}; run its cell again, or install "
                f"{made_by.get(kind) or 'the version that made it'}"
            )
    hashed = {f"{file.distribution} {file.version}" for file in host.files}
    present = plugins_of(cell, host)
    for kind, name in names.items():
        plugin = present[kind]
        made = made_by.get(kind, plugin)
        if plugin != made and (plugin in hashed or "sha256:" in made):
            raise RecordError(
                f"record {record.key} was made by another version of {kind} {name!r} ({made}), "
                f"here is {plugin}; give the file or class that made it"
            )


def save_weights(weights: Weights, path: Path) -> None:
    """Write weights as a safetensors file: the whole file or nothing.

    Raises:
        RecordError: The file cannot be written.
    """
    write_atomically(path, save_tensors({name: tensor.contiguous() for name, tensor in weights.items()}))


def _masks_in(data: bytes) -> Masks:
    return Masks.of_arrays(unpack_masks(data))


def _weights_in(data: bytes | None) -> Weights | None:
    return load_tensors(data) if data else None


def _without_examples(record: Record, context: WorkerContext) -> WorkerContext:
    """Return a context in which the dataset of a cell is only declared: its files need not be there."""
    name = record.cell.setting.dataset
    dataset = context.host.dataset(name, context.data_root)
    shape, classes = dataset.input_shape, dataset.num_classes
    labels = torch.zeros(0, dtype=torch.int64, device=context.device)
    none = ResidentSplit(torch.zeros(0, *shape, device=context.device), labels, lambda images: images)
    return context.with_data(name, LoadedData(none, none, shape, classes, None))


def _difference(found: Recovered, record: Record, kept: Masks | None) -> str | None:
    if found.masks.sha256 == record.masks:
        return None
    if kept is not None:
        other = sum(int((mask != kept[name]).count_nonzero()) for name, mask in found.masks.items())
        number = f"{other} of {kept.size} weights differ"
    else:
        counts = {layer.name: layer.kept for layer in record.layers}
        least = sum(abs(kept - counts.get(name, 0)) for name, kept in found.masks.layer_kept.items())
        number = (
            f"at least {least} of {found.masks.size} weights differ, by the numbers kept per layer"
            if least
            else "as many weights are kept in every layer, and how many differ is not known"
        )
    made = record.provenance
    return (
        f"the masks {found.origin} are not those of record {record.key}: {number}; it was made on "
        f"{made.device} with torch {made.torch} and {count(made.threads, 'thread')}"
    )


def _difference_of_weights(found: Weights, kept: Weights) -> str | None:
    other = {name: found[name] != tensor for name, tensor in kept.items()}
    count, size = (
        sum(int(each) for each in numbers)
        for numbers in (
            (mask.count_nonzero() for mask in other.values()),
            (mask.numel() for mask in other.values()),
        )
    )
    return f"{count} of {size} kept weights differ from those of the cell run again" if count else None


def _other_result(new: Record, record: Record) -> str:
    now, before = new.metrics, record.metrics
    assert now is not None  # noqa: S101  both cells have succeeded
    assert before is not None  # noqa: S101
    return (
        f"the masks are those of record {record.key}, but the training differs: test accuracy "
        f"{now.test_top1:.4f} and loss {now.test_loss}, where {before.test_top1:.4f} and "
        f"{before.test_loss} are recorded"
    )
