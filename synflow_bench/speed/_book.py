"""The file that keeps what was measured, machine by machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, ValidationError

from synflow_bench.errors import HandledError
from synflow_bench.protocols import Bench, provenance_of
from synflow_bench.records import write_atomically
from synflow_bench.speed._speed import Speed
from synflow_bench.speed._workload import Workload
from synflow_bench.suites import Value

NAME = "speed.json"
SCHEMA: Literal[1] = 1


def book_path(data_root: Path) -> Path:
    """Where the speeds are kept: in the data folder, which `run` is told of as well."""
    return data_root / NAME


class BookError(HandledError):
    """A file of speeds that cannot be read."""


class Machine(Value):
    """What speeds hold for: a device by its name, a version of torch, and threads a worker."""

    device: str
    torch: str
    threads: int

    @classmethod
    def of(cls, bench: Bench) -> Self:
        """This machine, as `bench` uses it."""
        facts = provenance_of(bench.device, bench.threads, {})
        return cls(device=facts.device, torch=torch.__version__, threads=bench.threads)


class Measured(Value):
    """The speeds of one machine."""

    machine: Machine
    speeds: tuple[Speed, ...]


class Book(Value):
    """The speeds of all machines that share a data folder."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    machines: tuple[Measured, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file's content, empty where there is none; raises `BookError` where it cannot be used."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise BookError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
        except ValidationError:
            raise BookError(
                f"{str(path)!r} holds no speeds of this version; `synflow-bench bench` writes it anew"
            ) from None

    def of(self, machine: Machine) -> dict[str, Speed]:
        """What was measured on `machine`, by the workload as `key_of` writes it."""
        return {
            key_of(speed.workload): speed
            for measured in self.machines
            if measured.machine == machine
            for speed in measured.speeds
        }

    def find(self, machine: Machine, workload: Workload) -> Speed | None:
        """The speed of `workload` on `machine`."""
        return self.of(machine).get(key_of(workload))

    def noting(self, machine: Machine, speeds: Iterable[Speed]) -> Book:
        """The same book with `speeds` in the place of what was known of their workloads."""
        known = self.of(machine)
        for speed in speeds:
            old = known.get(key_of(speed.workload))
            known[key_of(speed.workload)] = _with_pruners_of(old, speed) if old else speed
        others = tuple(measured for measured in self.machines if measured.machine != machine)
        return Book(machines=(*others, Measured(machine=machine, speeds=tuple(known.values()))))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises `RecordError` where that cannot be."""
        write_atomically(path, self.model_dump_json(indent=1, by_alias=True) + "\n")


def key_of(workload: Workload) -> str:
    """One text for equal workloads."""
    return workload.model_dump_json()


def _with_pruners_of(old: Speed, new: Speed) -> Speed:
    """Pruners that were timed earlier and not now are still known."""
    return new.model_copy(update={"pruning": {**old.pruning, **new.pruning}})
