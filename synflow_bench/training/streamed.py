"""Streamed datasets: data workers read the examples from disk while the device computes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from synflow_bench.data import Augmentation, ReadExample
from synflow_bench.errors import DataError, UsageError
from synflow_bench.training.device import main_module_hidden, to_device, usable_cores

DATA_WORKERS_VARIABLE = "SYNFLOW_BENCH_DATA_WORKERS"
"""The environment variable with the number of data workers per streamed dataset; 0 reads in this process."""

Request = tuple[str, int | None]
"""An item, and the seed of its augmentation; None for no augmentation."""

_SEEDS = 2**62
_CHUNK = 64
"""Examples that are read at once where the caller has no batch size."""


@dataclass(frozen=True)
class StreamedExamples:
    """Examples that data workers read.

    Every example of every epoch has its own seed for its augmentation, drawn in the order of the epoch, so
    that batches do not depend on the number of data workers.

    Attributes:
        items: The name of each of the N examples, as the dataset's `read` takes it.
        labels: Labels (N,) int64, on the device.
        normalize: The conversion of images (N, C, H, W) uint8 to inputs, float32.
        workers: The data workers.
        shape: The shape of one example, (C, H, W).
    """

    resident: ClassVar[bool] = False
    items: Sequence[str]
    labels: Tensor
    normalize: Callable[[Tensor], Tensor]
    workers: DataWorkers
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> StreamedExamples:
        """Select the examples at `indices` (n,)."""
        items = [self.items[i] for i in indices.tolist()]
        labels = self.labels[indices.to(self.labels.device)]
        return StreamedExamples(items, labels, self.normalize, self.workers, self.shape)

    def inputs(self, indices: Tensor) -> Tensor:
        """Return the examples at `indices` (n,), normalized and not augmented: (n, C, H, W) float32."""
        return torch.cat([inputs for inputs, _ in self.take(indices).batches(_CHUNK)])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples in order, normalized, for evaluation."""
        order = torch.arange(len(self))
        return self._stream(torch.split(order, size), torch.split(torch.full_like(order, -1), size))

    def shuffled(
        self,
        size: int,
        order: Tensor,
        change: Augmentation | None,
        generator: torch.Generator,
        skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield training batches of `size` in `order` (N,), augmented unless `change` is None.

        The first `skip` are not read.

        A last batch of a single example is left out, unless `size` is one: batch norm cannot train on it.
        """
        seeds = torch.full_like(order, -1)
        if change is not None:
            seeds = torch.randint(_SEEDS, order.shape, generator=generator)
        pairs = zip(torch.split(order, size), torch.split(seeds, size), strict=True)
        kept = [pair for pair in pairs if len(pair[0]) > 1 or size == 1][skip:]
        return self._stream([indices for indices, _ in kept], [seeds for _, seeds in kept])

    def _stream(self, batches: Sequence[Tensor], seeds: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of the examples at indices, each with its seed; -1 for no augmentation."""
        device = self.labels.device
        requests = (self._requests(*pair) for pair in zip(batches, seeds, strict=True))
        for indices, images in zip(batches, self.workers.images(requests), strict=True):
            inputs = self.normalize(images.to(device, non_blocking=True))
            yield inputs, self.labels[to_device(indices, device)]

    def _requests(self, indices: Tensor, seeds: Tensor) -> list[Request]:
        pairs = zip(indices.tolist(), seeds.tolist(), strict=True)
        return [(self.items[index], None if seed < 0 else seed) for index, seed in pairs]


def data_worker_count() -> int:
    """Return the number of data workers: `SYNFLOW_BENCH_DATA_WORKERS`, or the cores of this process.

    Raises:
        UsageError: The variable is not a number.
    """
    text = os.environ.get(DATA_WORKERS_VARIABLE)
    if text is None:
        return usable_cores()
    if not text.isdecimal():
        raise UsageError(f"{DATA_WORKERS_VARIABLE}={text!r} is not a number of processes, such as 4")
    return int(text)


class DataWorkers:
    """Processes that read examples, started at first use. The images do not depend on their number."""

    def __init__(self, read: ReadExample, shape: tuple[int, ...], device: torch.device) -> None:
        count = data_worker_count()
        self._requests = _Requests()
        self._pass = 0
        self._read = read
        with _no_warning_of_too_many():
            self._loader: DataLoader[Tensor | DataError] = DataLoader(
                _Examples(read, shape),
                batch_sampler=self._requests,
                collate_fn=_stack_images,
                num_workers=count,
                persistent_workers=count > 0,
                multiprocessing_context="spawn" if count else None,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),  # else every pass would draw from the global one
            )

    def images(self, batches: Iterable[list[Request]]) -> Iterator[Tensor]:
        """Yield the images (n, C, H, W) uint8 of each batch of requests, on the CPU, in order.

        Only one pass can be in progress: a new one ends the earlier ones.

        Raises:
            DataError: An example cannot be read, or differs from the declaration of its dataset.
            RuntimeError: Another pass has begun.
        """
        self._requests.batches = batches
        self._pass += 1
        this = self._pass
        with ExitStack() as stack:
            stack.enter_context(_no_warning_of_too_many())
            if getattr(self._read, "__module__", None) != "__main__":
                stack.enter_context(main_module_hidden())
            loaded = iter(self._loader)
        for images in loaded:
            if this != self._pass:
                raise RuntimeError("another pass over the streamed data has begun; finish one at a time")
            if isinstance(images, DataError):
                raise images
            yield images


@contextmanager
def _no_warning_of_too_many() -> Iterator[None]:
    """Silence torch's warning about more processes than cores: the user has chosen the number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        yield


@dataclass
class _Requests:
    """The requests of the pass in progress."""

    batches: Iterable[list[Request]] = field(default=())

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self.batches)


@dataclass(frozen=True)
class _Examples(Dataset[Tensor | DataError]):
    """Reads one example; an error is returned, since the loader turns a raised one into a traceback."""

    read: ReadExample
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
            return DataError(f"{item} is read as {found}; the dataset declares uint8 of {self.shape}")
        return image


def _stack_images(images: list[Tensor | DataError]) -> Tensor | DataError:
    errors = [image for image in images if isinstance(image, DataError)]
    return errors[0] if errors else torch.stack([image for image in images if isinstance(image, Tensor)])
