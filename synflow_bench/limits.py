"""Limits of a run: seconds per cell, memory per worker, failures; and the state of processes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from synflow_bench.errors import UsageError

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_QUANTITY = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]?)(?:i?b)?")
_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Limits:
    """The limits of a run and of its worker processes.

    Attributes:
        cell_timeout: The most seconds of a cell; None for any time.
        memory: The most bytes of a worker and the processes that it has started; None for all there is.
        recycle_after: The number of cells after which a worker is replaced by a new one; None for never.
        max_failures: The number of failed cells that end the run; None for any number.

    Example:
        >>> Limits(cell_timeout=1800, memory=4 << 30).need_workers
        True
    """

    cell_timeout: float | None = None
    memory: int | None = None
    recycle_after: int | None = None
    max_failures: int | None = None

    @property
    def need_workers(self) -> bool:
        """True if only an executor with worker processes can keep to the limits."""
        return any(each is not None for each in (self.cell_timeout, self.memory, self.recycle_after))


class Looks:
    """Looks for a fault that counts only if it lasts.

    They are counted, and not the time, because the run itself may have been suspended meanwhile.

    Args:
        interval: The seconds between two looks.
        most: The looks in a row with the fault that are enough.

    Attributes:
        next: The time of the next look, on the monotonic clock.
    """

    def __init__(self, interval: float, most: int) -> None:
        self._interval, self._most = interval, most
        self._found = 0
        self.next = time.monotonic() + interval

    def are_enough(self, now: float, has_fault: Callable[[], bool]) -> bool:
        """Look if it is time to, and return True if enough looks in a row have found the fault."""
        if now >= self.next:
            self.next = now + self._interval
            self._found = self._found + 1 if has_fault() else 0
        return self._found >= self._most


def parse_seconds(text: str) -> float:
    """Return the seconds of a time such as `90`, `30m`, `1.5h` or `2d`.

    Raises:
        UsageError: The text is no positive time.

    Example:
        >>> parse_seconds("30m"), parse_seconds("1.5h")
        (1800.0, 5400.0)
    """
    return _quantity(text, _SECONDS, "a time, such as 90s, 30m or 2h")


def parse_bytes(text: str) -> int:
    """Return the bytes of an amount of memory such as `500M` or `4G`.

    Raises:
        UsageError: The text is no positive amount.

    Example:
        >>> parse_bytes("4G"), parse_bytes("500MB")
        (4294967296, 524288000)
    """
    return int(_quantity(text, _BYTES, "an amount of memory, such as 500M or 4G"))


def _quantity(text: str, units: dict[str, int], what: str) -> float:
    found = _QUANTITY.fullmatch(text.strip().lower())
    value = float(found[1]) * units[found[2]] if found and found[2] in units else 0.0
    if value <= 0:
        raise UsageError(f"{text!r} is not {what}")
    return value


def format_bytes(number: int) -> str:
    """Write an amount of memory.

    Example:
        >>> format_bytes(4 << 30), format_bytes(524288000)
        ('4.0G', '500M')
    """
    return f"{number / (1 << 30):.1f}G" if number >= 1 << 30 else f"{number / (1 << 20):.0f}M"


def can_measure_memory() -> bool:
    """Return True if this system tells the memory of processes in `/proc`."""
    return (_PROC / "self" / "statm").exists()


def memory_of(pid: int) -> int:
    """Return the resident bytes of a process, 0 if it is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def family_memory(pid: int, *, most: int) -> int:
    """Return the bytes of a process and all that it has started, also in sessions of their own.

    A process whose parent has ended is found by its session. Bytes that n processes share count as 1/n in
    each, if `/proc` tells them. That is slower to read, so resident bytes are returned where they are within
    `most`.

    Args:
        pid: The process.
        most: The bytes up to which the sum of resident bytes, which counts shared ones repeatedly, will do.
    """
    everything, family = list(processes()), {pid}
    while found := {
        each
        for each, parent, session in everything
        if each not in family and (parent in family or session in family)
    }:
        family |= found
    resident = sum(map(memory_of, family))
    return resident if resident <= most else sum(map(_proportional, family))


def _proportional(pid: int) -> int:
    try:
        found = re.search(r"^Pss: +(\d+) kB$", (_PROC / str(pid) / "smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) << 10 if found else memory_of(pid)


def is_stopped(pid: int) -> bool:
    """Return True if a signal such as SIGSTOP has stopped the process; False where `/proc` does not tell."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def processes() -> Iterator[tuple[int, int, int]]:
    """Yield the number, the parent and the session of every running process that `/proc` shows."""
    try:
        names = [name for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208  a Path each costs
    except OSError:
        return
    for name in names:
        try:
            state, parent, _, session = (_PROC / name / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if state != "Z":
            yield int(name), int(parent), int(session)


def out_of_memory_kills() -> int | None:
    """Count the processes that the kernel has killed for memory, in this control group if it can be read.

    Returns:
        The number since the group, or the system, has started; None if this system does not tell.
    """
    for file in (*_group_files(), _PROC / "vmstat"):
        try:
            found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _group_files() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):  # version 1
            yield from (root / "memory" / place / "memory.oom_control" for place in (group.strip("/"), ""))
        elif not controllers and group != "/":  # version 2; its root has no such file
            yield root / group.strip("/") / "memory.events"
