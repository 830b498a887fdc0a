"""The command line as a script, and as `python -m synflow_bench`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Import and run the command line; Ctrl-C ends the import without a traceback.

    With `--json`, stdout holds nothing but the JSON until the process ends, whatever plugins print.

    Returns:
        The exit code.
    """
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from synflow_bench.cli import main as run
    from synflow_bench.cli.app import prints_json
    from synflow_bench.cli.output import own_stdout

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(json_stream=own_stdout() if prints_json(sys.argv[1:]) else None)


if __name__ == "__main__":
    sys.exit(main())
