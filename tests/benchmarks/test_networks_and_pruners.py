"""The script that tries every pruner on networks of many families: its page, and a part of its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from networks_and_pruners import (
    PAGE,
    Network,
    Outcome,
    all_pruners,
    attempt,
    main,
    of_torchvision,
    ours,
    page,
    tried,
)
from torch import nn

SMALL = Network("small", (1, 4, 4), lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 10)))


class Failing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("broken")


def test_an_outcome_is_a_mask_a_refusal_or_an_error() -> None:
    assert attempt(SMALL, "snip").end == "mask"
    refused = attempt(Network("none", (1, 4, 4), nn.Flatten), "snip")
    assert (refused.end, len(refused.notes)) == ("refused", 1)
    assert attempt(SMALL, "no-such-pruner").end == "refused"


def test_what_has_been_tried_is_not_tried_again(tmp_path: Path) -> None:
    kept = tmp_path / "build" / "kept.jsonl"
    first = list(tried([SMALL], ["magnitude", "random"], kept))
    never: Callable[[], nn.Module] = Failing
    assert list(tried([Network("small", (1, 4, 4), never)], ["magnitude", "random"], kept)) == first


def test_a_page_numbers_each_note_once() -> None:
    outcomes = [
        Outcome("small", "one", "mask", (), 0.1),
        Outcome("small", "two", "mask", ("it is *slow*",), 0.1),
        Outcome("other", "one", "refused", ("it_cannot", "it is *slow*"), 0.1),
        Outcome("other", "two", "error", ("KeyError: 'x|y'",), 0.1),
    ]
    text = page({"All": ([SMALL, Network("other", (7,), Failing)], outcomes)})
    assert "| `small` | 1x4x4 | 2 of 2 |  | `two`: 1 |" in text
    assert "| `other` | 7 | 0 of 2 | `one`: 2 1; `two`: error 3 |  |" in text
    assert "2 of 4 prunings give a mask (50.0 %)." in text
    assert text.endswith("1. it is \\*slow\\*\n2. it\\_cannot\n3. KeyError: 'x\\|y'\n")


def test_pruners_with_the_same_notes_stand_together() -> None:
    notes = {"one": ("slow",), "two": (), "three": ("slow",)}
    outcomes = [Outcome("small", pruner, "mask", said, 0.1) for pruner, said in notes.items()]
    assert "| 3 of 3 |  | `one`, `three`: 1 |" in page({"All": ([SMALL], outcomes)})
    outcomes = [Outcome("small", pruner, "mask", ("slow",), 0.1) for pruner in notes]
    assert "| 3 of 3 |  | all: 1 |" in page({"All": ([SMALL], outcomes)})


def test_every_family_of_torchvision_has_a_network() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    families = {torchvision.models.get_model_builder(name).__module__ for name in names}
    tried_ones = {
        torchvision.models.get_model_builder(network.name).__module__ for network in of_torchvision()
    }
    assert tried_ones == families


@pytest.mark.parametrize("network", [*ours(), *of_torchvision()], ids=lambda network: network.name)
def test_every_network_can_be_built(network: Network) -> None:
    device = "cpu" if network.name.startswith("regnet") else "meta"  # its sizes are computed by tensors
    with torch.device(device):
        model = network.build().eval()
    inputs, _ = network.examples()
    assert model(inputs[:2].to(device)).shape == (2, 10)


@pytest.mark.slow
def test_of_a_part_almost_all_are_masks_and_none_is_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, written = tmp_path / "kept.jsonl", tmp_path / "page.md"
    assert main(["--subset", "--results", str(kept), "--output", str(written)]) == 0
    counts = capsys.readouterr().out.splitlines()[-1]
    masks, refused = (int(part.split()[0]) for part in counts.split(", ")[:2])
    assert masks / (masks + refused) >= 0.95, written.read_text("utf-8")


def test_the_committed_page_has_every_network_and_almost_only_masks() -> None:
    text = PAGE.read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [network.name for network in (*ours(), *of_torchvision())]
    assert all(f"`{pruner}`" in text for pruner in all_pruners())
    counts = [row.split("|")[3].split(" of ") for row in rows]
    assert {int(of) for _, of in counts} == {len(all_pruners())}
    assert sum(int(masks) for masks, _ in counts) >= 0.95 * len(rows) * len(all_pruners())
    assert not [row for row in rows if " error " in row]
