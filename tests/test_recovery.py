"""Masks and weights of a record: kept, or made again and compared with what is recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import synflow_bench as sfb
from synflow_bench import recovery
from synflow_bench.errors import DataMissingError, HandledError, RecordError, UsageError
from synflow_bench.host import Host
from synflow_bench.protocols import Network, protocol
from synflow_bench.records import Record, Store, kept_path, read_kept
from synflow_bench.recovery import Recovery, check_repeatable
from synflow_bench.suites import Revisions, seed_of

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

SMALL: dict[str, Any] = {
    "compressions": [10],
    "seeds": 1,
    "epochs": 1,
    "executor": "serial",
    "progress": False,
}


class Largest(sfb.Pruner):
    """Keep the largest weights."""

    needs_data = False

    def score(self, problem: sfb.Problem) -> dict[str, Any]:
        return {name: weight.detach().abs() for name, weight in problem.parameters.items()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> sfb.Results:
    """A run that has kept masks and weights."""
    folder = tmp_path_factory.mktemp("kept") / "results"
    pruners = ["snip", "magnitude"]
    return sfb.run("quick", pruners=pruners, keep=["masks", "weights"], results=folder, **SMALL)


@pytest.fixture(scope="module")
def plain(kept: sfb.Results, tmp_path_factory: pytest.TempPathFactory) -> sfb.Results:
    """The records of the same run without its kept files."""
    folder = tmp_path_factory.mktemp("plain")
    store = Store(folder)
    for record in kept.records():
        store.put(record)
    return sfb.load_results(folder)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when anything is trained."""

    def refuse(_: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(protocol, "train_batch", refuse)


def of(results: sfb.Results, pruner: str) -> Record:
    return next(record for record in results.records() if record.cell.pruner.name == pruner)


@pytest.fixture
def prunes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which pruning keeps one other weight of the first layer."""
    original = recovery.prune_cell

    def prune_cell(*given: Any) -> Any:
        ready = original(*given)
        masks = {name: mask.clone() for name, mask in ready.masks.items()}
        first = next(iter(masks.values())).view(-1)
        on, off = int(first.nonzero()[0]), int((~first).nonzero()[0])
        first[on], first[off] = False, True
        return replace(ready, masks=sfb.Masks(masks))

    monkeypatch.setattr(recovery, "prune_cell", prune_cell)


@pytest.mark.parametrize("pruner", ["dense", "snip", "magnitude"])
def test_masks_made_again_are_the_kept_and_recorded_ones(
    pruner: str, kept: sfb.Results, plain: sfb.Results, no_training: None
) -> None:
    record = of(kept, pruner)
    masks = plain.masks(record.key)
    assert masks.sha256 == record.masks
    assert masks == kept.masks(record) == kept.masks(record.key[:6], again=True)


@pytest.mark.parametrize(("engine", "alone"), [("graphed", True), ("stacked", False)])
def test_a_cell_is_trained_again_by_the_step_of_its_record(
    kept: sfb.Results, tmp_path: Path, engine: Any, alone: bool
) -> None:
    record = of(kept, "snip")
    made = record.provenance.model_copy(update={"engine": engine})
    again = Recovery(Host.load(), Store(tmp_path), tmp_path)
    with again._context(record.model_copy(update={"provenance": made})) as context:
        assert context.alone is alone


def test_weights_made_again_are_the_kept_ones_and_removed_ones_are_zero(
    kept: sfb.Results, plain: sfb.Results
) -> None:
    record = of(kept, "snip")
    again, first = plain.weights(record.key), kept.weights(record.key)
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    for name, mask in kept.masks(record).items():
        assert not first[name][~mask].any()
        assert first[name][mask].any()


def test_recovered_weights_have_the_recorded_accuracy(kept: sfb.Results, tmp_path: Path) -> None:
    record, host = of(kept, "snip"), Host.load()
    data = host.dataset("digits", tmp_path)
    model = host.models.get("fc")(data.input_shape, data.num_classes)
    model.load_state_dict(kept.weights(record.key))
    test = data.load(tmp_path).test
    images = test.images.float() / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in (data.mean, data.std))
    right = (model((images - mean) / std).argmax(1) == test.labels).float().mean()
    assert record.metrics is not None
    assert float(right) == pytest.approx(record.metrics.test_top1, abs=1e-6)


def test_methods_without_data_need_no_dataset(
    plain: sfb.Results, monkeypatch: pytest.MonkeyPatch, no_training: None
) -> None:
    def missing(*_: object) -> None:
        raise DataMissingError("digits are gone")

    monkeypatch.setattr(Host.load().datasets.get("digits"), "load", missing)
    assert plain.masks(of(plain, "magnitude")).sha256 == of(plain, "magnitude").masks
    with pytest.raises(DataMissingError):
        plain.masks(of(plain, "snip"))
    with pytest.raises(HandledError, match="digits are gone"):
        plain.weights(of(plain, "magnitude"))


def test_a_difference_is_said_exactly_where_masks_were_kept(
    kept: sfb.Results, plain: sfb.Results, prunes_otherwise: None
) -> None:
    record = of(kept, "snip")
    with pytest.warns(UserWarning, match=r": 2 of \d+ weights differ"):
        kept.masks(record, again=True)
    with pytest.warns(UserWarning, match="how many differ is not known"):
        plain.masks(record)


def test_a_difference_is_bounded_by_the_numbers_of_the_layers(
    plain: sfb.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, other = of(plain, "snip"), of(plain, "magnitude")
    counts = {layer.name: layer.kept for layer in other.layers}
    least = sum(abs(layer.kept - counts[layer.name]) for layer in record.layers)
    assert least
    original = recovery.prune_cell
    monkeypatch.setattr(recovery, "prune_cell", lambda _, context: original(other.cell, context))
    with pytest.warns(UserWarning, match=f"at least {least} of"):
        plain.masks(record)


def test_a_training_that_differs_is_said(plain: sfb.Results) -> None:
    record = of(plain, "snip")
    metrics = record.metrics
    assert metrics is not None
    changed = record.model_copy(update={"metrics": metrics.model_copy(update={"test_loss": 0.125})})
    found = Recovery(Host.load(), Store(plain.path), plain.path).recover(changed, weights=True)
    assert "0.125" in str(found.difference)


def test_what_is_pruned_after_training_is_trained_again(tmp_path: Path) -> None:
    results = sfb.run(
        "quick",
        pruners=["magnitude"],
        overrides={"protocol.pre_epochs": 1},
        results=tmp_path,
        **SMALL,
    )
    lines: list[str] = []
    recovered = Recovery(Host.load(), Store(tmp_path), tmp_path, report=lines.append)
    record = of(results, "magnitude")
    found = recovered.recover(record)
    assert found.masks.sha256 == record.masks
    assert "after training" in found.origin
    assert "1 epoch" in lines[0]


def test_masks_that_change_in_training_are_those_of_the_whole_cell_run_again(tmp_path: Path) -> None:
    results = sfb.run("quick", pruners=["rigl[every=2]"], results=tmp_path, **SMALL)
    record = of(results, "rigl")
    found = Recovery(Host.load(), Store(tmp_path), tmp_path).recover(record)
    assert found.masks.sha256 == record.masks
    with pytest.raises(RecordError, match="change in training; keep them"):
        Recovery(Host.load(), Store(tmp_path), tmp_path, may_train=False).recover(record)


def test_kept_files_of_a_record_that_was_replaced_are_not_used(
    kept: sfb.Results, plain: sfb.Results, tmp_path: Path
) -> None:
    store, record = Store(tmp_path), of(kept, "snip")
    store.put(of(plain, "magnitude"))
    path = store.put(record)
    source = kept_path(Store(kept.path).path(of(kept, "magnitude").cell), "masks")
    kept_path(path, "masks").write_bytes(source.read_bytes())
    found = Recovery(Host.load(), store, tmp_path).recover(record)
    assert (found.origin, found.difference) == ("pruned again", None)


def test_damaged_kept_files_are_named(kept: sfb.Results, tmp_path: Path) -> None:
    store, record = Store(tmp_path), of(kept, "snip")
    path = kept_path(store.put(record), "masks")
    path.write_bytes(b"no masks")
    with pytest.raises(RecordError, match=str(path)):
        Recovery(Host.load(), store, tmp_path).recover(record)


def test_weights_with_another_bit_are_named(kept: sfb.Results, tmp_path: Path) -> None:
    store, record = Store(tmp_path), of(kept, "snip")
    path = kept_path(store.put(record), "weights")
    content = bytearray(kept_path(Store(kept.path).path(record.cell), "weights").read_bytes())
    path.write_bytes(content)
    assert read_kept(record, store.path(record.cell), "weights") == content
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError, match=f"{path}.* is damaged"):
        Recovery(Host.load(), store, tmp_path).recover(record, weights=True)


@pytest.mark.parametrize("kind", ["pruner", "model", "dataset"])
def test_records_of_another_revision_are_refused(kind: str, make_record: Callable[..., Record]) -> None:
    record = make_record("magnitude", revisions=Revisions(**{kind: 77}))
    with pytest.raises(RecordError, match=f"revision 77 of {kind}"):
        check_repeatable(record, Host.load())


def test_plugins_that_are_gone_or_changed_are_refused(tmp_path: Path) -> None:
    results = sfb.run("quick", pruners=[Largest], results=tmp_path, **SMALL)
    record = of(results, "largest")
    with pytest.raises(UsageError, match=r"'largest' of record .* is not installed"):
        results.masks(record)
    assert results.masks(record, plugins=Largest).sha256 == record.masks

    class Other(sfb.Pruner):
        def score(self, problem: sfb.Problem) -> dict[str, Any]:
            return {}

    Other.__name__ = "Largest"
    with pytest.raises(RecordError, match="another version of pruner 'largest'"):
        results.masks(record, plugins=Other)


def test_failed_cells_have_no_masks(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    record = make_record(status="failed")
    Store(tmp_path).put(record)
    with pytest.raises(RecordError, match="failed"):
        sfb.load_results(tmp_path).masks(record.key)
    with pytest.raises(RecordError, match="no record"):
        sfb.load_results(tmp_path).masks("ffff")
    with pytest.raises(UsageError, match="int"):
        sfb.load_results(tmp_path).masks(7)  # type: ignore[arg-type]


def test_archives_carry_kept_files(kept: sfb.Results, tmp_path: Path, invoke: Any) -> None:
    for name in ("one.tar.gz", "two.tar.gz"):
        assert invoke("results", "export", str(tmp_path / name), "--results", str(kept.path)).code == 0
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    there = str(tmp_path / "there")
    assert invoke("results", "import", str(tmp_path / "one.tar.gz"), "--results", there).code == 0
    assert invoke("results", "verify", there).code == 0

    def files(folder: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (folder / "records").rglob("*.safetensors")}

    assert files(Path(there)) == files(kept.path)
    assert len(files(kept.path)) == 2 * len(kept)
    lean = tmp_path / "lean.tar.gz"
    assert invoke("results", "export", str(lean), "--records-only", "--results", str(kept.path)).code == 0
    assert lean.stat().st_size < (tmp_path / "one.tar.gz").stat().st_size / 2


def test_show_writes_masks_and_weights(kept: sfb.Results, invoke: Any, tmp_path: Path) -> None:
    record, masks, weights = of(kept, "snip"), tmp_path / "masks", tmp_path / "weights"
    place = ("--results", str(kept.path))
    outcome = invoke("show", record.key, "--masks", str(masks), "--weights", str(weights), "--json", *place)
    assert outcome.code == 0
    assert json.loads(outcome.out)["key"] == record.key
    assert sfb.Masks.load(masks).sha256 == record.masks
    assert weights.stat().st_size > 10_000
    invoke("show", record.key, "--masks", str(masks), *place).assert_refused("exists", "--force")
    masks.write_text("old")
    assert invoke("show", record.key, "--masks", str(masks), "--force", *place).code == 0
    assert sfb.Masks.load(masks).sha256 == record.masks


def test_show_says_last_what_it_wrote(
    kept: sfb.Results, invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    place = ("--masks", str(tmp_path / "m.safetensors"), "--results", str(kept.path))
    lines = invoke("show", of(kept, "snip").key, *place).out.splitlines()
    assert len(lines) > 20
    assert "m.safetensors" in lines[-1]


def test_show_says_a_difference(
    plain: sfb.Results, invoke: Any, tmp_path: Path, prunes_otherwise: None
) -> None:
    record = of(plain, "snip")
    outcome = invoke("show", record.key, "--masks", str(tmp_path / "m"), "--results", str(plain.path))
    assert outcome.code == 1
    assert "warning: the masks pruned again are not those" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["snip", "--masks", "m"], "installed pruner"),
        (["KEY", "--masks", "m", "--weights", "m"], "name two"),
        (["KEY", "--masks", "m", "--weights", "./m"], "name two"),
        (["KEY", "--masks", "/proc/m"], "/proc/m"),
        (["KEY", "--again"], "--again"),
        (["KEY", "--force"], "--force"),
        (["KEY", "--masks", "m.txt"], "'m.safetensors'"),
        (["KEY", "--weights", "w.pt"], "'w.safetensors'"),
        (["KEY", "--masks", "m", "--device", "cuda:77"], "cuda:77"),
        (["ffff", "--masks", "m"], "ffff"),
    ],
)
def test_show_refuses_what_cannot_be(
    arguments: list[str],
    fact: str,
    plain: sfb.Results,
    invoke: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    key = of(plain, "snip").key
    given = [key if each == "KEY" else each for each in arguments]
    invoke("show", *given, "--results", str(plain.path)).assert_refused(fact)
    assert [*tmp_path.iterdir()] == []


def test_links_to_one_file_are_one_file(plain: sfb.Results, invoke: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("m")
    given = ("--masks", str(tmp_path / "m"), "--weights", str(tmp_path / "link"))
    invoke("show", of(plain, "snip").key, *given, "--results", str(plain.path)).assert_refused("name two")


def test_show_writes_to_devices(kept: sfb.Results, invoke: Any) -> None:
    place = (of(kept, "snip").key, "--results", str(kept.path))
    assert invoke("show", *place, "--masks", "/dev/null").code == 0
    if Path("/dev/full").exists():
        invoke("show", *place, "--masks", "/dev/full").assert_refused("No space left")


def test_what_a_network_draws_and_does_not_save_is_that_of_the_cell(
    kept: sfb.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    original = recovery.build_network

    def build_network(factory: Any, spec: Any, shape: Any, classes: int, seed: int, device: Any) -> Any:
        seeds.append(seed)
        return original(factory, spec, shape, classes, seed, device)

    monkeypatch.setattr(recovery, "build_network", build_network)
    record = of(kept, "snip")
    Recovery(Host.load(), Store(kept.path), kept.path).network(record)
    assert seeds == [seed_of(record.cell, "init")]


def test_kept_weights_of_another_model_are_one_line(
    kept: sfb.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, record = Host.load(), of(kept, "snip")
    monkeypatch.setattr(recovery, "build_network", lambda *_: Network(torch.nn.Linear(2, 2), {}, None))
    with pytest.raises(RecordError, match="do not fit model 'fc'") as raised:
        Recovery(host, Store(kept.path), kept.path).network(record)
    assert "\n" not in str(raised.value)


def test_kept_weights_of_another_revision_of_the_model_make_no_network(
    kept: sfb.Results, tmp_path: Path
) -> None:
    record = of(kept, "snip")
    changed = record.model_copy(
        update={"cell": record.cell.model_copy(update={"revisions": Revisions(model=77)})}
    )
    with pytest.raises(RecordError, match="revision 77 of model"):
        check_repeatable(changed, Host.load(), ("dataset", "model"))
    check_repeatable(changed, Host.load(), ("dataset", "pruner"))


def test_run_refuses_to_keep_other_things(invoke: Any) -> None:
    invoke("run", "--keep", "masks,gradients").assert_refused("gradients")
    invoke("run", "--dry-run", "--keep", "masks").assert_refused("--keep")
