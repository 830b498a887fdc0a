"""The command line: one thin module per command, imported when it runs.

Plugins that add commands find here what they share with the built-in ones.
"""

from synflow_bench.cli.app import LazyCommand, load_host, main
from synflow_bench.cli.options import (
    compression_options,
    data_option,
    device_option,
    executor_option,
    json_option,
    plugin_option,
    refuse,
    repeatable,
    results_option,
    threads_option,
    workers_option,
)
from synflow_bench.cli.output import print_table, prints_to_stderr, say

__all__ = [
    "LazyCommand",
    "compression_options",
    "data_option",
    "device_option",
    "executor_option",
    "json_option",
    "load_host",
    "main",
    "plugin_option",
    "print_table",
    "prints_to_stderr",
    "refuse",
    "repeatable",
    "results_option",
    "say",
    "threads_option",
    "workers_option",
]
