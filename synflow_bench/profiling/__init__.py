"""Where the time of a cell goes, by timers put around the harness's own parts in a process of its own."""

from synflow_bench.profiling._profile import START, ProfileError, profile_cells
from synflow_bench.profiling._stages import STAGES, Stage, watched
from synflow_bench.profiling._stopwatch import Stopwatch
from synflow_bench.profiling._task import Profile, Row, Task

__all__ = [
    "STAGES",
    "START",
    "Profile",
    "ProfileError",
    "Row",
    "Stage",
    "Stopwatch",
    "Task",
    "profile_cells",
    "watched",
]
