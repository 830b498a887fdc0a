"""The flow of an image of ones, recorded once and replayed in every round for its different pixels only.

All weights and images are positive, so that ReLU changes nothing, and a batch norm is a factor of the weights
before it. Calls of modules, autograd and checks layer by layer, which take most of the time of a round of a
small network, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synflow_bench import Masks, Problem
from synflow_bench.pruning import keep_largest
from synflow_bench_pruners.distinct_pixels import (
    POINT,
    Image,
    Mean,
    Operation,
    Product,
    Shift,
    Sum,
    prepare,
)
from synflow_bench_pruners.repeating import Axis

ACCURACY = 1e-4
"""The largest difference from the scores of the network itself, as a share of a layer's largest score."""


class ReplayedFlow:
    """The rounds of a network whose operations have been recorded."""

    def __init__(self, problem: Problem, recorder: _Recorder, level: float) -> None:
        self._names = list(problem.parameters)
        self._shapes = {name: weight.shape for name, weight in problem.parameters.items()}
        self._operations = recorder.operations
        prepare(recorder.operations, recorder.images, problem.dtype)
        recorder.images[0].values[:-1] = level
        self._output = recorder.images[-1]
        self._total = self._output.shares
        self._gradients = [image.gradients for image in recorder.images]
        self._dense = torch.cat([recorder.scaled(name, problem.dense[name]) for name in self._names])
        self._weights, self._slopes = torch.empty_like(self._dense), torch.empty_like(self._dense)
        flat = zip(self._split(self._weights), self._split(self._slopes), strict=True)
        for name, (weights, slopes) in zip(self._names, flat, strict=True):
            recorder.products[name].bind(weights, slopes)
        self._tiny = torch.finfo(self._dense.dtype).tiny if problem.dtype is torch.float32 else 0.0

    @classmethod
    @torch.no_grad()
    def of(
        cls, problem: Problem, level: float, scores: Mapping[str, Tensor], masks: Masks
    ) -> ReplayedFlow | None:
        """Record the network; return None where it has other operations, or the replay other scores.

        Args:
            problem: The network, on a CPU, with an image as its input.
            level: The value of the input's entries.
            scores: The scores of the weights that `masks` keeps.
            masks: The masks of these scores.
        """
        if any(_is_watched(module) for module in problem.model.modules() if module is not problem.model):
            return None
        image = torch.full((1, *problem.input_shape), level, dtype=problem.dtype)
        recorder = _Recorder(problem, image)
        try:
            with recorder:
                output = problem.model(image)
            if not recorder.is_complete(output):
                return None
        except Exception:  # a network may fail in any way here, and is only not replayed
            return None
        flow = cls(problem, recorder, level)
        return flow if flow._agrees(scores, masks) else None

    @torch.no_grad()
    def keep(self, masks: Masks, counts: Sequence[int]) -> tuple[Masks, int]:
        """Keep the largest scores in rounds, as many as there are ordinary numbers for.

        Args:
            masks: The masks before the first round.
            counts: The number of weights to keep in every round.

        Returns:
            The masks, and the number of rounds.
        """
        mask, done = self._put(masks), 0
        for count in counts:
            scores = self._scores()
            low, high = (float(value) for value in torch.aminmax(scores))
            if not 0 <= low <= high < float("inf"):
                break
            (kept,), threshold = keep_largest([scores], [mask], count)
            if threshold < self._tiny:
                break
            self._weights.mul_(kept.view(torch.uint8))  # four times as fast as by booleans
            mask, done = kept, done + 1
        return Masks(self._by_name(mask)), done

    def _put(self, masks: Masks) -> Tensor:
        """Set the weights that `masks` keeps, and return the masks as a row (n,)."""
        mask = torch.cat([_flat(masks[name]) for name in self._names])
        torch.mul(self._dense, mask, out=self._weights)
        return mask

    def _scores(self) -> Tensor:
        """Return the scores of the weights (n,), which stay until the next call."""
        for operation in self._operations:
            operation.forward()
        torch._foreach_zero_(self._gradients)
        self._output.gradients[:-1] = self._total
        for operation in reversed(self._operations):
            operation.backward()
        return self._slopes.mul_(self._weights)

    def _agrees(self, scores: Mapping[str, Tensor], masks: Masks) -> bool:
        self._put(masks)
        pairs = [(score, scores[name]) for name, score in self._by_name(self._scores()).items()]
        return bool((self._dense >= 0).all()) and all(
            bool((replayed - score).abs().max() <= ACCURACY * score.max()) for replayed, score in pairs
        )

    def _split(self, flat: Tensor) -> Sequence[Tensor]:
        return torch.split_with_sizes(flat, [shape.numel() for shape in self._shapes.values()])

    def _by_name(self, flat: Tensor) -> dict[str, Tensor]:
        """Return views of `flat` (n,) with the shapes of the weights, channels last."""
        return {
            name: part.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
            for (name, shape), part in zip(self._shapes.items(), self._split(flat), strict=True)
        }


def _flat(tensor: Tensor) -> Tensor:
    """Return a weight (O, C, ...) or its mask as a row, channels last."""
    return tensor.detach().movedim(1, -1).reshape(-1)


def _is_watched(module: nn.Module) -> bool:
    """Return True if hooks run when `module` is called; the harness has its own at the network."""
    before, after = module._forward_pre_hooks, module._forward_hooks
    return bool(before or after or module._backward_pre_hooks or module._backward_hooks)


_POINT = Axis(size=1, kernel=1, stride=1, padding=0, dilation=1)


class _Unrecorded(Exception):  # noqa: N818 - it is no error of the network
    """An operation that cannot be replayed."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations of a forward pass, below autograd.

    Attributes:
        operations: The operations in order.
        images: The images in order; the input is the first.
        products: The convolutions and linear layers, by the names of their weights.
    """

    def __init__(self, problem: Problem, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        state = [*problem.model.parameters(), *problem.model.buffers()]
        self._weights = {id(weight): name for name, weight in problem.parameters.items()}
        self._constants = {id(tensor) for tensor in state} - self._weights.keys()
        self._known: dict[int, tuple[Tensor, Image]] = {}
        self._transposed: dict[int, tuple[Tensor, str]] = {}
        self._unscaled: dict[Image, str] = {}
        self._scales: dict[str, Tensor] = {}
        self.operations: list[Operation] = []
        self.products: dict[str, Product] = {}
        self.images: list[Image] = []
        self._add(image, Image((image.shape[2], image.shape[3]), image.shape[1], POINT))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip the compiler, torch would first load it: 140 MiB and seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
            rule = _RULES.get(func.overloadpacket.__name__)
            if rule is None:
                raise _Unrecorded(str(func))
            rule(self, output, *args, **(kwargs or {}))
        return output

    def is_complete(self, output: Any) -> bool:
        """Return True if all weights have been used, and the last image is the output of the network."""
        return self.image_of(output) is self.images[-1] and len(self.products) == len(self._weights)

    def scaled(self, name: str, weight: Tensor) -> Tensor:
        """Return a weight (O, C, ...) as a row, times the factors of the batch norm behind it."""
        scale = self._scales.get(name)
        return _flat(weight if scale is None else weight * scale.view(-1, *[1] * (weight.dim() - 1)))

    def image_of(self, tensor: Any) -> Image:
        """Return the image that is known of `tensor`, whose values are from now on in use."""
        if id(tensor) not in self._known:
            raise _Unrecorded("a tensor that was not followed")
        image = self._known[id(tensor)][1]
        self._unscaled.pop(image, None)
        return image

    def convolve(
        self, output: Tensor, image: Tensor, weight: Tensor, bias: Tensor | None, strides: list[int],
        paddings: list[int], dilations: list[int], transposed: bool, _: list[int], groups: int,
    ) -> None:  # fmt: skip
        """Record a convolution of two dimensions without groups."""
        source = self.image_of(image)
        if transposed or groups != 1 or image.dim() != 4:
            raise _Unrecorded("another convolution")
        each = zip(source.size, weight.shape[2:], strides, paddings, dilations, strict=True)
        rows, columns = (Axis(*axis) for axis in each)
        self._multiply(output, source, self._weights.get(id(weight)), bias, (rows, columns))

    def transpose(self, output: Tensor, matrix: Tensor) -> None:
        """Note that a tensor is a transposed weight."""
        self._transposed[id(output)] = output, self._weights.get(id(matrix), "")

    def multiply(self, output: Tensor, vector: Tensor, matrix: Tensor) -> None:
        """Record a linear layer without bias."""
        self.multiply_and_add(output, None, vector, matrix)

    def multiply_and_add(self, output: Tensor, bias: Tensor | None, vector: Tensor, matrix: Tensor) -> None:
        """Record a linear layer."""
        _, name = self._transposed.get(id(matrix), (matrix, ""))
        self._multiply(output, self.image_of(vector), name, bias, (_POINT, _POINT))

    def normalize(
        self, outputs: tuple[Tensor, ...], image: Tensor, weight: Tensor | None, bias: Tensor | None,
        mean: Tensor, variance: Tensor, training: bool, _: float, eps: float,
    ) -> None:  # fmt: skip
        """Record a batch norm in evaluation mode, right behind a product without bias."""
        result = self._known[id(image)][1]
        if training or result not in self._unscaled:
            raise _Unrecorded("another batch norm")
        scale, constant = self._constant(variance).add(eps).rsqrt(), torch.zeros(())
        if weight is not None:
            scale = scale * self._constant(weight)
        if bias is not None:
            constant = self._constant(bias)
        self._scales[self._unscaled.pop(result)] = scale
        self._shift(result, constant - self._constant(mean) * scale)
        del self._known[id(image)]  # whose values are not those of `result` any more
        self._known[id(outputs[0])] = outputs[0], result

    def keep(self, output: Tensor, tensor: Tensor, *_: Any, **__: Any) -> None:
        """Note that a tensor is the same image, as behind ReLU where all is positive."""
        if output.shape != tensor.shape and output.shape != tensor.shape[:2]:
            raise _Unrecorded("an image in another shape")
        self._known[id(output)] = output, self.image_of(tensor)

    def restride(self, output: Tensor, *_: Any) -> None:
        """Note that a single pixel is in another memory format, as behind pooling with channels last."""
        if self.image_of(output).size != (1, 1) or output.storage_offset() or output.stride(1) != 1:
            raise _Unrecorded("another view")

    def add(self, output: Tensor, one: Tensor, other: Tensor, alpha: float = 1) -> None:
        """Record a sum of two images of one shape, perhaps in place of the first."""
        terms = self.image_of(one), self.image_of(other)
        if alpha != 1 or one.shape != other.shape or self._is_viewed(output):
            raise _Unrecorded("another sum")
        self._record(Sum(*terms), output)

    def average(self, output: Tensor, image: Tensor, dimensions: Sequence[int], *_: Any) -> None:
        """Record the mean over dimensions 2 and 3."""
        if image.dim() != 4 or {dimension % 4 for dimension in dimensions} != {2, 3}:
            raise _Unrecorded("another mean")
        self._record(Mean(self.image_of(image)), output)

    def pool(
        self,
        output: Tensor,
        image: Tensor,
        window: Sequence[int],
        _: Sequence[int] = (),
        padding: Sequence[int] = (),
        *__: Any,
    ) -> None:
        """Record the mean over a window of the size of the image."""
        if image.shape[2:] != torch.Size(window) or output.shape[2:] != (1, 1) or any(padding):
            raise _Unrecorded("another pool")
        self.average(output, image, (2, 3))

    def _add(self, tensor: Tensor, image: Image) -> None:
        """Note that `tensor` is a new image."""
        self.images.append(image)
        self._known[id(tensor)] = tensor, image  # the tensor stays alive: no other gets its id

    def _record(self, operation: Product | Sum | Mean, output: Tensor) -> None:
        self.operations.append(operation)
        self._add(output, operation.result)

    def _multiply(
        self,
        output: Tensor,
        source: Image,
        name: str | None,
        bias: Tensor | None,
        axes: tuple[Axis, Axis],
    ) -> None:
        if not name or name in self.products:
            raise _Unrecorded("a weight that is not pruned, or is used twice")
        product = Product(source, axes, output.shape[1], first=source is self.images[0])
        self.products[name] = product
        self._record(product, output)
        if bias is None:
            self._unscaled[product.result] = name
        else:
            self._shift(product.result, self._constant(bias))

    def _shift(self, image: Image, constant: Tensor) -> None:
        if bool((constant < 0).any()):
            raise _Unrecorded("a negative constant, behind which ReLU may change values")
        if bool((constant > 0).any()):
            self.operations.append(Shift(image, constant))

    def _constant(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._constants:
            raise _Unrecorded("a constant that is pruned or computed")
        return tensor.detach().clone()

    def _is_viewed(self, tensor: Tensor) -> bool:
        """Return True if other followed tensors share the memory of `tensor`."""
        memory = tensor.untyped_storage().data_ptr()
        followed = (other for other, _ in self._known.values() if other is not tensor)
        return any(other.untyped_storage().data_ptr() == memory for other in followed)


_RULES: Mapping[str, Callable[..., None]] = {
    "convolution": _Recorder.convolve,
    "native_batch_norm": _Recorder.normalize,
    "t": _Recorder.transpose,
    "mm": _Recorder.multiply,
    "addmm": _Recorder.multiply_and_add,
    "add": _Recorder.add,
    "add_": _Recorder.add,
    "as_strided_": _Recorder.restride,
    "mean": _Recorder.average,
    "avg_pool2d": _Recorder.pool,
    **dict.fromkeys(
        (
            "relu",
            "relu_",
            "leaky_relu",
            "leaky_relu_",
            "view",
            "_unsafe_view",
            "squeeze",
            "alias",
            "detach",
            "clone",
        ),
        _Recorder.keep,
    ),
}
"""The rules of ATen operations: each takes the output, then the arguments of the operation."""
