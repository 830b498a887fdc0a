"""Setting a process up to run cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from synflow_bench.host import Host, PluginFile
from synflow_bench.protocols import Bench
from synflow_bench.training import set_up_process


def make_bench(data_root: Path, device: str, threads: int, plugins: Sequence[PluginFile] = ()) -> Bench:
    """Set this process up to run cells, with the installed plugins and those of the files `plugins`.

    What is wrong with a plugin is not said again here: whoever planned the cells has heard it.
    """
    host = Host.load(report=lambda _: None, files=plugins)
    set_up_process(torch.device(device), threads)
    return Bench(host=host, data_root=data_root, device=torch.device(device), threads=threads)
