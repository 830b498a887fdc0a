"""The plugin host of one command line: loaded when first asked for, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from synflow_bench.host import Host

_KEY = "synflow_bench.host"

PLUGIN_FILES = "synflow_bench.plugin_files"
"""Where the context keeps the files that `--plugin` names."""


def load_host(ctx: click.Context, check: bool = True) -> Host:
    """The host of this command line; unless told not to `check`, a plugin at fault is a `PluginError`."""
    from synflow_bench.host import Host

    host: Host | None = ctx.meta.get(_KEY)
    if host is None:
        host = ctx.meta[_KEY] = Host.load(files=ctx.meta.get(PLUGIN_FILES, ()))
    if check:
        host.check()
    return host
