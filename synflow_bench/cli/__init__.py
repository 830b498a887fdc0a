"""The command line: one file a command, thin, and imported when it runs."""

from synflow_bench.cli._app import load_host, main

__all__ = ["load_host", "main"]
