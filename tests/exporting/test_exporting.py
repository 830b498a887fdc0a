"""Exported networks compute what the masked ones do, and are smaller where units are dead."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.errors import HandledError, ModelError, RecordError, UsageError
from synflow_bench.exporting import ExportError, formats, load_compact, measure_latencies, stand_in
from synflow_bench.records import Store
from synflow_bench.recovery import Recovery
from synflow_bench.testing import networks

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


class Residual(nn.Module):
    """A stem, a block with a sum, batch norm whose statistics are not the defaults, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.bn1 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.outer, self.bn2 = nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.relu, self.classifier = nn.ReLU(), nn.Linear(8, 5)
        for norm in (self.bn0, self.bn1, self.bn2):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn0(self.stem(x)))
        x = self.relu(x + self.bn2(self.outer(self.relu(self.bn1(self.inner(x))))))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class Dropping(nn.Module):
    """A plain network with dropout, which draws random numbers in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.b(self.drop(self.a(x).relu()))
        return logits


@pytest.fixture
def residual() -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A network, masks under which half of the channels inside the block are dead, and inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, inputs = Residual(), torch.randn(7, 3, 6, 6)
        masks = {f"{n}.weight": torch.rand_like(getattr(model, n).weight) < 0.5 for n in ("stem", "inner")}
    masks["outer.weight"] = (torch.arange(12) < 6)[None, :, None, None].expand(8, 12, 3, 3).clone()
    return model, masks, inputs


def masked_logits(model: nn.Module, masks: dict[str, Tensor], inputs: Tensor) -> Tensor:
    state = {name: p * masks[name] if name in masks else p for name, p in model.named_parameters()}
    with torch.no_grad():
        logits: Tensor = torch.func.functional_call(model.eval(), state, (inputs,))
    return logits


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("compact", [False, True])
def test_a_program_of_torch_computes_the_masked_network_at_every_batch_size(
    compact: bool, fold: bool, residual: Any, tmp_path: Path
) -> None:
    model, masks, inputs = residual
    path = tmp_path / "model.pt2"
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = sfb.export(model, masks, path, inputs, format="pt2", compact=compact, fold=fold)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert found.is_exact
    assert (found.share < 1) == compact
    loaded = torch.export.load(path).module()
    for number in (1, 7):
        expected = masked_logits(model, masks, inputs[:number])
        torch.testing.assert_close(loaded(inputs[:number]), expected, atol=1e-5, rtol=1e-5)
    if fold:
        assert not any("running_mean" in name for name in loaded.state_dict())


def test_tensors_have_the_sizes_of_what_is_left(residual: Any, tmp_path: Path) -> None:
    model, masks, inputs = residual
    found = sfb.export(model, masks, tmp_path / "m", inputs, format="state-dict")
    tensors = load_file(tmp_path / "m")
    assert tuple(tensors["inner.weight"].shape) == (6, 8, 3, 3)
    assert tuple(tensors["outer.weight"].shape) == (8, 6, 3, 3)
    assert tensors["bn1.running_mean"].shape == (6,)
    left = sum(t.numel() for t in tensors.values()) / sum(t.numel() for t in model.state_dict().values())
    assert found.share == pytest.approx(left)
    assert found.difference < 1e-5


def test_networks_with_dropout_are_compacted_for_evaluation(tmp_path: Path) -> None:
    masks = {"b.weight": (torch.arange(20) < 5).expand(3, 20).clone()}
    found = sfb.export(Dropping(), masks, tmp_path / "m", torch.randn(4, 6), format="state-dict")
    assert load_file(tmp_path / "m")["a.weight"].shape == (5, 6)
    assert found.is_exact


@pytest.mark.parametrize("kind", ["opaque", "alive"])
def test_what_hinders_is_said(kind: str, tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.a.weight
            return nn.functional.linear(x, weight / weight.norm() if kind == "opaque" else weight)

    masks = {"a.weight": torch.rand(3, 6) < 0.9}
    found = sfb.export(Sorted(), masks, tmp_path / "m", torch.randn(4, 6), format="state-dict")
    assert found.share == 1.0
    assert ("weight norm" in str(found.hindrance)) == (kind == "opaque")
    assert (found.hindrance is None) == (kind == "alive")


def test_dead_channels_that_groups_bind_to_others_are_counted(tmp_path: Path) -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=2)
            self.c = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.c(self.b(self.a(x)).mean((2, 3)))
            return logits

    masks = {"c.weight": (torch.arange(4) < 1).expand(3, 4).clone()}
    found = sfb.export(Grouped(), masks, tmp_path / "m", torch.randn(2, 1, 5, 5), format="state-dict")
    assert found.share == 1.0
    assert "5 dead channels" in str(found.hindrance)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


class Aliased(nn.Module):
    """One layer with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.alias = self.a

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.b(self.alias(x).relu())
        return logits


HALF = {"b.weight": (torch.arange(8) < 3).expand(3, 8)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_exported_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = Aliased().to(dtype)
    found = sfb.export(model, HALF, tmp_path / "m", torch.randn(4, 6).to(dtype), format="state-dict")
    assert (found.is_exact, found.share < 0.5) == (True, True)
    assert {tensor.dtype for tensor in load_file(tmp_path / "m").values()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {dtype}


@pytest.mark.parametrize("wrap", [nn.DataParallel, pytest.param(compiled, marks=pytest.mark.slow)])
def test_wrapped_networks_are_exported_as_what_they_wrap(wrap: Any, tmp_path: Path) -> None:
    model, inputs = Aliased(), torch.randn(4, 6)
    sfb.export(model, HALF, tmp_path / "plain", inputs, format="state-dict")
    wrapped = wrap(model)
    names = [name for name, _ in wrapped.named_parameters()]
    masks = {next(name for name in names if name.endswith("b.weight")): HALF["b.weight"]}
    sfb.export(wrapped, masks, tmp_path / "wrapped", inputs, format="state-dict")
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "wrapped").read_bytes()


@pytest.mark.parametrize("format", ["state-dict", pytest.param("pt2", marks=pytest.mark.slow)])
def test_networks_that_python_cannot_copy_are_exported(format: str, tmp_path: Path) -> None:
    model, inputs = networks.Uncopyable(Aliased()), torch.randn(4, 6)
    model(inputs)
    masks = {"net.b.weight": HALF["b.weight"]}
    found = sfb.export(model, masks, tmp_path / "m", inputs, format=format)
    assert (found.is_exact, found.share < 0.5) == (True, True)
    if format == "state-dict":
        assert load_compact(tmp_path / "m", model)(inputs).shape == (4, 3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_files_are_the_same_inside_inference_mode_and_without_gradients(mode: Any, tmp_path: Path) -> None:
    model, inputs = Dropping(), torch.randn(4, 6)
    masks = {"b.weight": (torch.arange(20) < 5).expand(3, 20).clone()}
    expected = sfb.export(model, masks, tmp_path / "m", inputs, format="state-dict")
    content = (tmp_path / "m").read_bytes()
    with mode():
        found = sfb.export(model, masks, tmp_path / "m", inputs.clone(), format="state-dict")
        loaded = load_compact(tmp_path / "m", deepcopy(model))
    assert found == expected
    assert (tmp_path / "m").read_bytes() == content
    loaded(inputs).sum().backward()


@pytest.mark.parametrize("use", ["export", "load"])
@pytest.mark.parametrize("kind", ["meta", "lazy"])
def test_a_network_without_values_is_refused(kind: str, use: str, tmp_path: Path) -> None:
    model, masks = Dropping().to("meta"), {"b.weight": torch.ones(3, 20).bool()}
    if kind == "lazy":
        model = Dropping()
        model.a = nn.LazyLinear(20)
    uses = {
        "export": lambda: sfb.export(model, masks, tmp_path / "m", torch.ones(2, 6), format="state-dict"),
        "load": lambda: load_compact(tmp_path / "m", model),
    }
    with pytest.raises(ModelError, match=rf"'a\.weight' .*{kind}"):
        uses[use]()


def test_norms_after_several_calls_of_a_layer_are_not_folded(tmp_path: Path) -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.conv(self.one(self.conv(x)))).mean((2, 3))

    masks = {"conv.weight": torch.ones(3, 3, 1, 1).bool()}
    with pytest.raises(ExportError, match="'conv' is used more than once"):
        sfb.export(Again(), masks, tmp_path / "m", torch.ones(2, 3, 4, 4), format="state-dict", fold=True)


def test_a_network_that_has_diverged_is_exported_as_it_is(tmp_path: Path) -> None:
    model = Aliased()
    nn.init.constant_(model.b.bias[:1], torch.nan)
    found = sfb.export(model, HALF, tmp_path / "m", torch.randn(4, 6), format="state-dict")
    assert (found.is_exact, found.difference) == (True, 0)
    assert found.largest_logit > 0


def test_a_network_that_draws_numbers_is_not_exact(tmp_path: Path) -> None:
    class Noisy(Aliased):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.randn(3)

    found = sfb.export(Noisy(), HALF, tmp_path / "m", torch.randn(4, 6), format="state-dict")
    assert not found.is_exact
    assert found.share == 1


def test_inputs_stand_in_for_images_and_tokens() -> None:
    images, tokens = stand_in((3, 4, 4), 5), stand_in((7,), 5)
    assert (images.shape, images.dtype) == ((5, 3, 4, 4), torch.float32)
    assert (tokens.shape, tokens.dtype) == ((5, 7), torch.int64)
    assert torch.equal(images, stand_in((3, 4, 4), 5))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["tied", "attention", "instance norm, slopes", "recurrent", "grouped, BatchNorm1d"]
)
@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_networks_of_many_kinds_are_exported(name: str, format: str, case: Any, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
    model, masks, inputs = case(name)
    found = sfb.export(model, masks, tmp_path / "m", inputs, format=format)
    assert found.is_exact
    load: Any = torch.export.load
    run = (
        load(tmp_path / "m").module() if format == "pt2" else formats.onnx_run((tmp_path / "m").read_bytes())
    )
    for number in (1, 3):
        expected = masked_logits(model, masks, inputs[:number])
        torch.testing.assert_close(run(inputs[:number]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("compact", [False, True])
def test_onnx_computes_the_masked_network_at_every_batch_size(
    compact: bool, residual: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    model, masks, inputs = residual
    path = tmp_path / "model.onnx"
    found = sfb.export(model, masks, path, inputs, compact=compact, latency=compact)
    assert found.is_exact
    run = formats.onnx_run(path.read_bytes())
    for number in (1, 7):
        expected = masked_logits(model, masks, inputs[:number])
        torch.testing.assert_close(run(inputs[:number]), expected, atol=1e-5, rtol=1e-5)
    assert [(each.runtime, each.batch) for each in found.latencies] == compact * [
        *(("torch", 1), ("torch", 64), ("onnxruntime", 1), ("onnxruntime", 64))
    ]


@pytest.mark.parametrize("opset", [0, -1, 999, True, 18.0, "18"])
def test_an_opset_that_onnx_does_not_have(opset: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    masks = {"a.weight": torch.ones(20, 6).bool()}
    with pytest.raises(UsageError, match=f"opset {opset!r} .* from 18 to"):
        sfb.export(Dropping(), masks, tmp_path / "m", torch.ones(2, 6), opset=opset)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_an_opset_that_cannot_hold_the_network_leaves_no_file(residual: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model, masks, inputs = residual
    with pytest.raises(ExportError, match=r"opset 5 .* from 18 to") as raised:
        sfb.export(model, masks, tmp_path / "m.onnx", inputs, opset=5)
    assert "\n" not in str(raised.value)
    assert [*tmp_path.iterdir()] == []


def test_code_that_a_format_cannot_hold_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.a(x)
            return logits if logits.sum() > 0 else -logits

    masks = {"a.weight": torch.ones(3, 6).bool()}
    named: dict[str, dict[str, Any]] = {
        "m.pt2": {"format": "pt2"},
        "m.safetensors": {"format": "state-dict", "fold": True},
    }
    for name, options in named.items():
        (tmp_path / name).write_text("old")
        with pytest.raises(ExportError) as raised:
            sfb.export(Branching(), masks, tmp_path / name, torch.randn(4, 6), **options)
        assert "\n" not in str(raised.value)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == dict.fromkeys(named, "old")


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"format": "tflite"}, "tflite"),
        ({"format": "pt2", "opset": 18}, "opset"),
        ({"inputs": torch.ones(0, 6)}, "batch"),
        ({"inputs": torch.ones(2, 5)}, "5"),
        ({"model": "fc"}, "str"),
        ({"masks": {"a.weight": torch.ones(2, 2).bool()}}, "a.weight"),
        ({"masks": {"a.weight": torch.ones(20, 6).bool().numpy()}}, "masks are bool tensors"),
        ({"masks": [torch.ones(20, 6).bool()]}, "masks are bool tensors"),
        ({"masks": {"a.weight": torch.ones(20, 6)}}, "masks are bool tensors"),
        ({"masks": {}}, "masks are bool tensors"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, Any], fact: str, tmp_path: Path) -> None:
    given = {
        "model": Dropping(),
        "masks": {"a.weight": torch.ones(20, 6).bool()},
        "inputs": torch.ones(2, 6),
        "path": tmp_path / "m",
        "format": "state-dict",
    }
    with pytest.raises(HandledError, match=fact):
        sfb.export(**{**given, **change})
    assert [*tmp_path.iterdir()] == []


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"synflow-bench\[onnx\]"):
        sfb.export(Dropping(), {"a.weight": torch.ones(20, 6).bool()}, tmp_path / "m", torch.ones(2, 6))


@pytest.mark.parametrize(("format", "name"), [("pt2", "m.onnx"), ("state-dict", "m.pt2"), ("pt2", "m.xyz")])
def test_the_suffix_of_another_format_is_refused(format: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"'{Path(name).suffix}', and format '{format}' has"):
        sfb.export(Dropping(), HALF, tmp_path / name, torch.ones(2, 6), format=format)
    assert [*tmp_path.iterdir()] == []


def test_latencies_are_medians_of_runs_in_turns() -> None:
    calls: list[str] = []
    found = list(
        measure_latencies(
            "torch",
            lambda x: calls.append(f"before {len(x)}"),
            lambda x: calls.append(f"after {len(x)}"),
            torch.ones(3, 2),
            (1, 7),
            seconds=1e-6,
        )
    )
    assert [(each.batch, each.runs) for each in found] == [(1, 5), (7, 5)]
    assert calls == 6 * ["before 1", "after 1"] + 6 * ["before 7", "after 7"]
    assert all(each.before >= 0 for each in found)


def test_the_command_checks_its_file_before_it_trains(
    kept: sfb.Results, tmp_path: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(Recovery, "recover", refuse)
    place = (kept[0].key, "--results", str(kept.path), "--format", "state-dict")
    (tmp_path / "file").touch()
    for path in (str(tmp_path / "file" / "m"), "/proc/m"):
        invoke("export", *place, "--output", path).assert_refused(path)
    for path in ("net.pt2", "net.pt2x", "net.onnx"):
        invoke("export", *place, "--output", str(tmp_path / path)).assert_refused("'net.safetensors'")


def test_the_command_writes_to_devices(kept: sfb.Results, invoke: Any) -> None:
    place = (kept[0].key, "--results", str(kept.path), "--format", "state-dict")
    assert invoke("export", *place, "--output", "/dev/null").code == 0
    assert not Path("/dev/null").is_file()
    if Path("/dev/full").exists():
        invoke("export", *place, "--output", "/dev/full").assert_refused("No space left")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> sfb.Results:
    small: dict[str, Any] = {"compressions": [20], "seeds": 1, "epochs": 1, "progress": False}
    folder = tmp_path_factory.mktemp("exported") / "results"
    keep = ["masks", "weights"]
    return sfb.run("quick", pruners=["synflow"], keep=keep, executor="serial", results=folder, **small)


def test_the_command_exports_a_record(
    kept: sfb.Results, tmp_path: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = next(record for record in kept.records() if not record.cell.is_dense)
    place = ("--results", str(kept.path), "--format", "pt2")
    outcome = invoke("export", record.key[:8], "--json", *place)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["compared_on"], found["is_exact"]) == ("test examples", True)
    assert found["share"] < 1
    assert found["path"] == f"{record.key}.pt2"
    invoke("export", record.key, *place).assert_refused("exists")
    shown = invoke("export", record.key, "--force", "--no-compact", *place)
    assert (shown.code, "100.0 %" in shown.out, "dead" in shown.out) == (0, True, False)


def test_the_command_says_that_no_unit_is_dead(
    kept: sfb.Results, tmp_path: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dense = next(record for record in kept.records() if record.cell.is_dense)
    shown = invoke("export", dense.key, "--results", str(kept.path), "--format", "state-dict")
    assert (shown.code, "no unit is dead" in shown.out, "stay" in shown.out) == (0, True, False)


def test_the_command_refuses_what_cannot_be_exported(
    kept: sfb.Results, tmp_path: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch, make_record: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "failed")
    store.put(failed := make_record(status="failed"))
    invoke("export", failed.key, "--format", "pt2", "--results", "failed").assert_refused("failed")
    key, place = kept[0].key, ("--results", str(kept.path))
    invoke("export", "ffff", *place).assert_refused("ffff")
    invoke("export", key, "--format", "pt2", "--opset", "18", *place).assert_refused("opset")
    assert [each.name for each in tmp_path.iterdir()] == ["failed"]
    with pytest.raises(RecordError):
        kept.masks("ffff")
