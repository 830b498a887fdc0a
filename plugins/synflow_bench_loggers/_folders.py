"""Where loggers write."""

from __future__ import annotations

from pathlib import Path

from synflow_bench.errors import UsageError


def folder_of(logger: str, target: str, results: Path) -> Path:
    """The folder `target`, else the logger's own below the results; made now, or a `UsageError`."""
    folder = Path(target) if target else results / "logs" / logger
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"logger {logger!r} cannot write to {str(folder)!r}: {reason}") from error
    return folder
