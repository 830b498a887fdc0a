"""The marks of hook specifications and of their implementations."""

from __future__ import annotations

import pluggy

PROJECT = "synflow_bench"
"""The pluggy project, and the group of entry points that plugins are found by."""

CONTRACT = 1
"""The version of the contract below; a plugin may name the one it keeps as `synflow_bench_contract = 1`."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
