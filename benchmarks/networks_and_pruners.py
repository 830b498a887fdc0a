"""Try every pruner on networks of every family, and write docs/reference/networks-and-pruners.md.

`python benchmarks/networks_and_pruners.py`: about two hours on one thread, most of them for the networks of
torchvision. What has been tried is kept in `build/networks-and-pruners.jsonl`, so that a run can be
interrupted; delete the file to try everything again. `--only NETWORK ...` tries some networks, `--subset` a
few minutes' worth of them; neither writes the page, unless `--output` names a file.

One pruning is `prune(network, pruner, compression=10)` with one example of noise for each of ten classes.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from synflow_bench import PruningOptions, prune
from synflow_bench.errors import HandledError, one_line
from synflow_bench.host import Host
from synflow_bench.pruning import TrainingPruner

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "networks-and-pruners.md"
RESULTS = ROOT / "build" / "networks-and-pruners.jsonl"
COMPRESSION, CLASSES, PER_CLASS = 10, 10, 1
EXAMPLES = CLASSES * PER_CLASS
LARGE, FEW = 200, 2
"""The side of images of which there are only a few: three training steps of `prospr` keep all activations."""
FEWER_ROUNDS = {
    "force": "force[rounds=5]",
    "hts": "hts[batch=10,probes=1]",
    "iter-snip": "iter-snip[rounds=5]",
    "ntk-sap": "ntk-sap[repeats=1,rounds=2]",
    "px": "px[rounds=5]",
    "sampled": "sampled[of=snip]",
}
"""Pruners that would take hours on large networks, with parameters that make them as quick as the others."""
VARIANTS = ("prospr[second_order=false]",)
"""Pruners with parameters, which differ from their defaults in what they ask of a network."""

OURS = {
    "vit/tiny": (1, 8, 8),
    "mixer/tiny": (1, 8, 8),
    "mobilenet/v2": (1, 8, 8),
    "convnext/tiny": (1, 8, 8),
    "wrn-16-8": (1, 8, 8),
    "wrn-28-10": (1, 8, 8),
    "gpt/char": (16,),
}
TORCHVISION = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 299,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_0": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11": 64,
    "vgg11_bn": 64,
    "vit_b_16": 64,
    "wide_resnet50_2": 64,
}
"""One network of each family of torchvision's classifiers, or more, and the side of its images.

Inception and MaxViT take no images of 64x64.
"""
EXTRA = {
    "googlenet": {"init_weights": True},
    "inception_v3": {"init_weights": True},
    "vit_b_16": {"image_size": TORCHVISION["vit_b_16"]},
}
SUBSET = ("gpt/char", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_0")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A network to prune: its name, the shape of an example, and the function that builds it."""

    name: str
    shape: Shape
    build: Callable[[], nn.Module]

    def examples(self) -> tuple[Tensor, Tensor]:
        """Make inputs of noise, or random tokens, and labels."""
        generator = torch.Generator().manual_seed(0)
        number = FEW if len(self.shape) > 1 and self.shape[-1] >= LARGE else EXAMPLES
        labels = torch.arange(number) % CLASSES
        if len(self.shape) == 1:
            return torch.randint(CLASSES, (number, *self.shape), generator=generator), labels
        return torch.randn(number, *self.shape, generator=generator), labels


@dataclass(frozen=True)
class Outcome:
    """The end of one pruning: a mask, a refusal in one line, or another error; and what was said."""

    network: str
    pruner: str
    end: Literal["mask", "refused", "error"]
    notes: tuple[str, ...]
    seconds: float


def ours() -> Iterator[Network]:
    """Yield the networks of this project that are newer than the paper's, at their smallest input."""
    models = Host.load().models
    for name, shape in OURS.items():
        factory = models.get(name)
        yield Network(name, shape, lambda factory=factory, shape=shape: factory(shape, CLASSES))


def of_torchvision() -> Iterator[Network]:
    """Yield torchvision's classifiers."""
    for name, side in TORCHVISION.items():

        def build(name: str = name) -> nn.Module:
            model: nn.Module = get_model(name, weights=None, num_classes=CLASSES, **EXTRA.get(name, {}))
            return model

        yield Network(name, (3, side, side), build)


def all_pruners() -> list[str]:
    """Name the pruners of this distribution that prune a network once, and the variants."""
    pruners = Host.load().pruners
    names = [
        entry.name
        for entry in pruners.entries()
        if entry.distribution == "synflow-bench" and not issubclass(pruners.get(entry.name), TrainingPruner)
    ]
    return [*(FEWER_ROUNDS.get(name, name) for name in names), *VARIANTS]


def attempt(network: Network, pruner: str) -> Outcome:
    """Prune a fresh network once."""
    torch.manual_seed(0)
    model, (inputs, labels) = network.build().eval(), network.examples()
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            masks = prune(
                model,
                pruner,
                compression=COMPRESSION,
                example_inputs=inputs[:1],
                data=(inputs, labels),
                options=PruningOptions(examples_per_class=PER_CLASS),
            )
        except HandledError as error:
            end, notes = "refused", (one_line(error, with_type=False),)
        except Exception as error:
            traceback.print_exc()
            end, notes = "error", (one_line(error),)
        else:
            if masks.kept != round(masks.size / COMPRESSION):
                raise SystemExit(f"{pruner} keeps {masks.kept} of {masks.size} weights of {network.name}")
            end, notes = "mask", tuple(sorted({one_line(w.message, with_type=False) for w in said}))
    return Outcome(network.name, pruner, end, notes, round(time.perf_counter() - started, 2))


def tried(
    networks: Iterable[Network], pruners: Sequence[str], results: Path | None = None
) -> Iterator[Outcome]:
    """Yield the outcome of every pair, from `results` where it is there, else from a pruning."""
    known: dict[tuple[str, str], Outcome] = {}
    if results is not None and results.exists():
        for line in results.read_text("utf-8").splitlines():
            fields = json.loads(line)
            known[fields["network"], fields["pruner"]] = Outcome(**{**fields, "notes": (*fields["notes"],)})
    for network in networks:
        for pruner in pruners:
            outcome = known.get((network.name, pruner))
            if outcome is None:
                outcome = attempt(network, pruner)
                notes = "; ".join(outcome.notes)
                print(f"{outcome.seconds:8.1f} s {network.name} {pruner}: {outcome.end} {notes}", flush=True)
                if results is not None:
                    results.parent.mkdir(parents=True, exist_ok=True)
                    with results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(outcome)) + "\n")
            yield outcome


def page(groups: dict[str, tuple[Sequence[Network], Sequence[Outcome]]]) -> str:
    """Return the page: a table per group, and the notes that its rows refer to by number."""
    notes: dict[str, int] = {}
    pruners = dict.fromkeys(outcome.pruner for _, outcomes in groups.values() for outcome in outcomes)
    lines = [
        "<!-- Written by `python benchmarks/networks_and_pruners.py`; edits here are lost. -->",
        "",
        "# Networks and pruners",
        "",
        f"Every pruner on networks of many families: one pruning to compression {COMPRESSION} of a network "
        f"with {CLASSES} classes, with {EXAMPLES} examples of noise where a pruner scores with data "
        f"({FEW} where images are large).",
        "`python benchmarks/networks_and_pruners.py` made this page, with torch "
        f"{torch.__version__.partition('+')[0]} on one thread of {platform.machine()}.",
        "",
        f"The {len(pruners)} are those that prune once, some with fewer rounds than their defaults:",
        f"{', '.join(f'`{pruner}`' for pruner in pruners)}.",
        "",
        "- A mask is one of exactly that compression, and a refusal is one line that says why.",
        "- Numbers behind pruners are those of their reasons or warnings, below the tables.",
        "- The shape is that of one example.",
    ]
    for title, (networks, outcomes) in groups.items():
        masks = sum(outcome.end == "mask" for outcome in outcomes)
        share = f"{masks} of {len(outcomes)} prunings give a mask ({100 * masks / len(outcomes):.1f} %)."
        lines += ["", f"## {title}", "", share, "", *_table(networks, outcomes, notes)]
    lines += ["", "## Notes", "", *(f"{number}. {_escaped(note)}" for note, number in notes.items())]
    return "\n".join(lines) + "\n"


def _table(networks: Sequence[Network], outcomes: Sequence[Outcome], notes: dict[str, int]) -> Iterator[str]:
    yield "| network | shape | masks | refusals | masks with warnings |"
    yield "| --- | --- | --- | --- | --- |"
    for network in networks:
        own = [outcome for outcome in outcomes if outcome.network == network.name]
        masks = [outcome for outcome in own if outcome.end == "mask"]
        others = _noted([outcome for outcome in own if outcome.end != "mask"], own, notes)
        warned = _noted([outcome for outcome in masks if outcome.notes], masks, notes)
        shape = "x".join(map(str, network.shape))
        yield f"| `{network.name}` | {shape} | {len(masks)} of {len(own)} | {others} | {warned} |"


def _noted(some: Iterable[Outcome], of: Sequence[Outcome], notes: dict[str, int]) -> str:
    """Return pruners with the numbers of their notes; those with the same ones together."""
    alike: dict[str, list[str]] = {}
    for outcome in some:
        numbers = " ".join(str(notes.setdefault(note, len(notes) + 1)) for note in outcome.notes)
        alike.setdefault(f"{'error ' * (outcome.end == 'error')}{numbers}", []).append(f"`{outcome.pruner}`")
    return "; ".join(
        f"{'all' if len(names) == len(of) > 1 else ', '.join(names)}: {numbers}"
        for numbers, names in alike.items()
    )


def _escaped(note: str) -> str:
    return note.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*").replace("_", "\\_")


def main(arguments: Sequence[str]) -> int:
    """Try all or some pairs; return 1 where one has ended with an error that is no refusal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subset", action="store_true", help="a few networks and pruners")
    parser.add_argument("--only", nargs="+", default=[], help="the networks to try")
    parser.add_argument("--results", type=Path, default=None, help="the file that keeps outcomes")
    parser.add_argument("--output", type=Path, default=None, help="the page to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    some = options.only or (SUBSET if options.subset else [])
    results, output = options.results, options.output
    if not some:
        results, output = results or RESULTS, output or PAGE
    pruners = all_pruners()
    groups: dict[str, tuple[list[Network], list[Outcome]]] = {}
    for title, networks in (
        ("Networks of this project", ours()),
        ("Networks of torchvision", of_torchvision()),
    ):
        for network in networks:
            if some and network.name not in some:
                continue
            done, found = groups.setdefault(title, ([], []))
            found += tried([network], pruners, results)
            done.append(network)
            if output is not None:
                output.write_text(page(groups), "utf-8")
    outcomes = [outcome for _, found in groups.values() for outcome in found]
    ends = {end: sum(outcome.end == end for outcome in outcomes) for end in ("mask", "refused", "error")}
    print(", ".join(f"{count} {end}" for end, count in ends.items()))
    return 1 if ends["error"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
