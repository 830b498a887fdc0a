"""Processes that read the examples of a streamed data set while the device computes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from synflow_bench.data import Read
from synflow_bench.errors import DataError, UsageError

DECODERS_VARIABLE = "SYNFLOW_BENCH_DECODERS"
"""The environment variable that says how many processes read a streamed data set; 0 is this one."""

Request = tuple[str, int | None]
"""An item, and the seed of its augmentation; None where it is not augmented."""


def decoder_count() -> int:
    """As many processes as `SYNFLOW_BENCH_DECODERS` says, else as many as there are cores to run on."""
    text = os.environ.get(DECODERS_VARIABLE)
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal():
        raise UsageError(f"{DECODERS_VARIABLE}={text!r} is no number of processes, such as 4")
    return int(text)


class Decoders:
    """Processes that are made at first use and then kept; what they give does not depend on their number."""

    def __init__(self, read: Read, shape: tuple[int, ...], device: torch.device) -> None:
        count = decoder_count()
        self._requests = _Requests()
        self._turn = 0
        with _as_many_as_are_asked_for():
            self._loader: DataLoader[Tensor | DataError] = DataLoader(
                _Examples(read, shape),
                batch_sampler=self._requests,
                collate_fn=_together,
                num_workers=count,
                persistent_workers=count > 0,
                multiprocessing_context="spawn" if count else None,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),  # else every pass would draw from the global one
            )

    def images(self, batches: Iterable[list[Request]]) -> Iterator[Tensor]:
        """The images (n, C, H, W) uint8 of each batch of requests, on the CPU, in order.

        Raises `DataError` where one cannot be read. One pass at a time: a new one ends those before it.
        """
        self._requests.batches = batches
        self._turn += 1
        turn = self._turn
        with _as_many_as_are_asked_for():
            passing = iter(self._loader)
        for images in passing:
            if turn != self._turn:
                raise RuntimeError("another pass over the streamed data has begun; finish one at a time")
            if isinstance(images, DataError):
                raise images
            yield images


@contextmanager
def _as_many_as_are_asked_for() -> Iterator[None]:
    """Torch warns of more processes than cores; here the user has chosen them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        yield


@dataclass
class _Requests:
    """What the processes are asked for in this pass."""

    batches: Iterable[list[Request]] = field(default=())

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self.batches)


@dataclass(frozen=True)
class _Examples(Dataset[Tensor | DataError]):
    """Reads one example. An error is a value here: raised, its text would come out as a traceback."""

    read: Read
    shape: tuple[int, ...]

    def __getitem__(self, request: Request) -> Tensor | DataError:
        item, seed = request
        state = torch.get_rng_state()
        try:
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            image = self.read(item, augmented=seed is not None)
        except DataError as error:
            return error
        finally:
            torch.set_rng_state(state)
        if image.dtype is not torch.uint8 or tuple(image.shape) != self.shape:
            found = f"{image.dtype} of {tuple(image.shape)}"
            return DataError(f"{item} is read as {found}; the data set declares uint8 of {self.shape}")
        return image


def _together(images: list[Tensor | DataError]) -> Tensor | DataError:
    faults = [image for image in images if isinstance(image, DataError)]
    return faults[0] if faults else torch.stack([image for image in images if isinstance(image, Tensor)])
