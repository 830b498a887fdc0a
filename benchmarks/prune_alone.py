"""One pruning in a process of its own: by the harness, set up as its workers are, or as the formula reads.

`python benchmarks/prune_alone.py harness synflow lottery/vgg16-bn 2` prints the seconds on two threads. The
network is one for 100 classes, or 200 of Tiny ImageNet, and the scoring data 100 random images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import torch
from conventional import synflow_masks
from sensitivities import grasp_masks, snip_masks
from torch import Tensor, nn

from synflow_bench import prune
from synflow_bench.host import Host
from synflow_bench.training import set_up_process

COMPRESSION = 10
EXAMPLES = 100


class Pruning:
    """A pruner, `synflow`, `snip` or `grasp`, on a network at initialization."""

    def __init__(self, pruner: str, network: str, rounds: int = 100) -> None:
        tiny = network.startswith("tinyimagenet/")
        self._pruner, self._rounds = pruner, rounds
        self._shape, classes = ((3, 64, 64), 200) if tiny else ((3, 32, 32), 100)
        torch.manual_seed(0)
        self._model: nn.Module = Host.load().models.get(network)(self._shape, classes).eval()
        self._data = torch.randn(EXAMPLES, *self._shape), torch.arange(EXAMPLES) % classes

    def by_the_harness(self) -> Mapping[str, Tensor]:
        """The masks that the library gives."""
        spec = f"synflow[rounds={self._rounds}]" if self._pruner == "synflow" else self._pruner
        return prune(self._model, spec, compression=COMPRESSION, input_shape=self._shape, data=self._data)

    def by_the_formula(self) -> Mapping[str, Tensor]:
        """The same masks, but for near-ties, as most research code computes them."""
        names = [name for name, parameter in self._model.named_parameters() if parameter.dim() > 1]
        if self._pruner == "synflow":
            return synflow_masks(self._model, names, self._shape, COMPRESSION, self._rounds)
        formula = {"snip": snip_masks, "grasp": grasp_masks}[self._pruner]
        return formula(self._model, names, *self._data, COMPRESSION)


def main(way: str, pruner: str, network: str, threads: int) -> None:
    """Print how many seconds the pruning takes."""
    torch.set_num_threads(threads)
    if way == "harness":
        set_up_process(torch.device("cpu"), threads)
    pruning = Pruning(pruner, network)
    started = time.perf_counter()
    pruning.by_the_harness() if way == "harness" else pruning.by_the_formula()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:4], threads=int(sys.argv[4]))
