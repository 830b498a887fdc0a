"""Measure exported networks: how much smaller and faster they are without their dead units.

    python benchmarks/export_latency.py lottery/vgg16-bn lottery/resnet56 --compression 100 --compression 1000
    python benchmarks/export_latency.py lottery/vgg16-bn --compression 2 --granularity channel

Networks with random weights are pruned by `synflow` for inputs of 3x32x32, and exported as ONNX. Latencies
are medians of runs in turns on one thread, of the whole masked network and of the exported one; MACs are the
multiply-accumulates of both. Needs the extra `onnx`.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

import synflow_bench as sfb
from synflow_bench.exporting import Exported, export, load_compact
from synflow_bench.host import Host

SHAPE, CLASSES = (3, 32, 32), 10


def exported(name: str, pruning: dict[str, Any], folder: Path) -> tuple[Exported, float]:
    """Prune and export one network; return the outcome and the factor by which MACs fall."""
    torch.manual_seed(0)
    model = Host.load().models.get(name)(SHAPE, CLASSES).eval()
    masks = sfb.prune(model, "synflow", input_shape=SHAPE, **pruning)
    inputs = torch.randn(64, *SHAPE)
    tensors = folder / "network.safetensors"
    export(model, masks, tensors, inputs, format="state-dict")
    whole, small = (macs(each) for each in (model, load_compact(tensors, model)))
    return export(model, masks, folder / "network.onnx", inputs, latency=True), whole / small


def macs(model: torch.nn.Module) -> float:
    """Return the multiply-accumulates of one example."""
    return sfb.score(model, SHAPE, "macs", examples=2)["macs"] or 0.0


def line(name: str, compression: float, found: Exported, macs_ratio: float) -> list[str]:
    """Return a row of the table."""
    ratios = [
        f"{each.before * 1e3:.1f} / {each.after * 1e3:.1f} = {each.ratio:.1f}" for each in found.latencies
    ]
    difference = f"{found.difference / found.largest_logit:.0e}" if found.largest_logit else "0"
    sizes = f"{found.whole_size / 2**20:.1f} / {found.size / 2**20:.2f}"
    return [name, f"{compression:g}", f"{found.share:.3f}", sizes, difference, f"{macs_ratio:.2f}", *ratios]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--compression", type=float, action="append", default=[])
    parser.add_argument("--granularity", default="weight")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    headers = [
        *("network", "compression", "share left", "MiB", "difference", "MACs"),
        *("torch, 1", "torch, 64", "onnxruntime, 1", "onnxruntime, 64"),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            for compression in given.compression or [100.0]:
                pruning = {"compression": compression, "granularity": given.granularity}
                rows.append(line(name, compression, *exported(name, pruning, Path(folder))))
                print(tabulate(rows[-1:], tablefmt="plain"), flush=True)
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
