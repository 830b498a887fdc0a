"""What becomes of a plugin that raises or breaks the contract: it is set aside, with the cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from synflow_bench.host._causes import one_line
from synflow_bench.host._plugin import Plugin, Status


class ContractBroken(Exception):  # noqa: N818  it is the reason, not what the user sees
    """How a plugin breaks the contract."""


class OtherContract(Exception):  # noqa: N818  as above
    """A plugin written for another version of the contract."""


def judged(plugin: Plugin, step: Callable[[Plugin], Plugin]) -> Plugin:
    """What `step` makes of the plugin, or the plugin set aside for what it raised."""
    try:
        return step(plugin)
    except ContractBroken as error:
        return _aside(plugin, "fault", str(error), error)
    except OtherContract as error:
        return _aside(plugin, "quarantined", str(error), error)
    except (Exception, SystemExit) as error:
        return _aside(plugin, "quarantined", one_line(error), error)


def _aside(plugin: Plugin, status: Status, cause: str, error: BaseException) -> Plugin:
    return replace(plugin, status=status, cause=cause, error=error)
