"""One optimizer step: learning rate, precision, masking, compilation and the optimizer itself."""

from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from synflow_bench.errors import SuiteError
from synflow_bench.suites import Recipe
from synflow_bench.training.mask_changes import MaskChanges

if TYPE_CHECKING:
    from synflow_bench.records import Engine
    from synflow_bench.training.loop import Training


@dataclass(frozen=True)
class Batch:
    """The input of one optimizer step: `inputs` (N, C, H, W), `labels` (N,), and the learning rate.

    `step` is the number of optimizer steps before it. In a graph, the learning rate is on the device.
    """

    inputs: Tensor
    labels: Tensor
    lr: float | Tensor
    step: int = 0


class Step(Protocol):
    """Takes one batch per training and returns their mean losses, still on the device.

    The losses may be overwritten by the next step.
    """

    @property
    def engine(self) -> Engine:
        """The name of the implementation for records."""

    @property
    def masked(self) -> Sequence[MaskedWeights]:
        """The masked weights of every training."""

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """Compute forward and backward passes, mask gradients, clip them, and run the optimizer."""

    def states(self) -> Sequence[dict[str, Tensor]]:
        """Return the state of the optimizer for every training, independent of the others in its batch."""

    def restore(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Continue from such states; the networks have their parameters already."""


@dataclass(frozen=True)
class TrainingStep:
    """The step of one network with any layers; the recipe decides if the network is compiled."""

    model: nn.Module
    optimizer: optim.Optimizer
    masked: Sequence[MaskedWeights]
    recipe: Recipe
    precision: Precision
    compiled: CompiledNetwork | None = None
    changes: MaskChanges | None = None

    @property
    def engine(self) -> Engine:
        """`eager` or `compiled`."""
        return "eager" if self.compiled is None else "compiled"

    @classmethod
    def of(cls, training: Training) -> Self:
        """Put the network in the recipe's memory format and build a fresh optimizer.

        Raises:
            SuiteError: The recipe needs a feature that its device does not have.
        """
        model, recipe, compiled = training.model, training.recipe, CompiledNetwork.of(training)
        precision = Precision.of(recipe, next(model.parameters()).device)
        precision.convert(model)
        masked = [MaskedWeights(model, training.masks)]
        optimizer = build_optimizer(recipe, model.parameters())
        return cls(model, optimizer, masked, recipe, precision, compiled, training.changes)

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """Train on the one batch in `batches`."""
        (batch,) = batches
        set_learning_rate(self.optimizer, batch.lr)
        changes = self.changes if self.changes is not None and batch.step in self.changes.due else None
        if changes is not None and not changes.needs_gradients:
            self._change_masks(changes, batch)
        network = self.model if self.compiled is None else self.compiled
        with self.precision.autocast():
            logits = network(self.precision.inputs(batch.inputs))
        loss = cross_entropy(logits.float(), batch.labels, label_smoothing=self.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        if changes is not None and changes.needs_gradients:
            self._change_masks(changes, batch)
        else:
            self.masked[0].mask_gradients()
            if self.recipe.gradient_clip is not None:
                clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return [loss.detach()]

    def _change_masks(self, changes: MaskChanges, batch: Batch) -> None:
        changes.apply(self.model, self.optimizer, batch.step, float(batch.lr))
        self.masked[0].change(changes.masks)

    def states(self) -> Sequence[dict[str, Tensor]]:
        """Return the state of the optimizer, by the index of the parameter and the name."""
        return [
            {
                f"{index}/{name}": tensor
                for index, parameter in enumerate(_parameters(self.optimizer))
                for name, tensor in optimizer_state(self.optimizer, parameter).items()
            }
        ]

    def restore(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Continue from what `states` has returned."""
        if self.changes is not None:
            self.masked[0].change(self.changes.masks)
        parameters = _parameters(self.optimizer)
        of_each: dict[int, dict[str, Tensor]] = {}
        for key, tensor in states[0].items():
            place, _, name = key.partition("/")
            of_each.setdefault(int(place), {})[name] = tensor
        for index, state in of_each.items():
            set_optimizer_state(self.optimizer, parameters[index], state)


Kind = TypeVar("Kind", bound=type[optim.Optimizer])


def _uncompiled(kind: Kind) -> Kind:
    """Remove the decorators that load torch's compiler, which takes seconds and 140 MiB."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad")}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)  # type: ignore[return-value]


_SGD, _Adam, _RMSprop = _uncompiled(optim.SGD), _uncompiled(optim.Adam), _uncompiled(optim.RMSprop)

_OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], Recipe, bool], optim.Optimizer]] = {
    "sgd": lambda trained, recipe, fused: _SGD(
        trained, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
    ),
    "momentum": lambda trained, recipe, fused: _SGD(
        trained,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=fused,
    ),
    "adam": lambda trained, recipe, fused: _Adam(
        trained, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
    ),
    "rmsprop": lambda trained, recipe, _: _RMSprop(
        trained, lr=recipe.lr, weight_decay=recipe.weight_decay, foreach=True
    ),
}
"""The optimizers by their names in a recipe, those of the type `suites.recipe.Optimizer`."""


def build_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Build the optimizer of a recipe, fused where torch has a fused kernel for the device."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    fused = all(parameter.device.type in {"cpu", "cuda", "mps"} for parameter in trained)
    optimizer = _OPTIMIZERS[recipe.optimizer](trained, recipe, fused)
    if any(parameter.is_cuda for parameter in trained):
        _allow_graphs(optimizer)
    return optimizer


def _allow_graphs(optimizer: optim.Optimizer) -> None:
    """Let the optimizer run in a CUDA graph and outside, with all of its state on the device."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    # It would warn of steps outside a graph, which every training has.
    optimizer._warned_capturable_if_run_uncaptured = True


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from zero over the whole training.

    Example:
        >>> recipe = Recipe(epochs=10, lr=0.1, schedule="step", milestones=[4, 8])
        >>> [round(learning_rate(recipe, step, steps_per_epoch=1), 6) for step in range(10)]
        [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001]
    """
    warm = recipe.warmup_epochs * steps_per_epoch
    if step < warm:
        return recipe.lr * (step + 1) / warm
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** bisect_right(recipe.milestones, step // steps_per_epoch)
    if recipe.schedule == "cosine":
        share = (step - warm) / (recipe.epochs * steps_per_epoch - warm)
        return recipe.lr * (1 + math.cos(math.pi * share)) / 2
    return recipe.lr


def set_learning_rate(optimizer: optim.Optimizer, lr: float | Tensor) -> None:
    """Set the learning rate of every parameter group to `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_state(optimizer: optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Return what the optimizer remembers of a parameter; nothing before its first step."""
    state = optimizer.state.get(parameter, {})
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def state_names(recipe: Recipe) -> set[str]:
    """Return the names of what the optimizer of a recipe remembers of a parameter after a step."""
    parameter = nn.Parameter(torch.zeros(1, device="cpu"))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(recipe, [parameter])
    optimizer.step()
    return set(optimizer_state(optimizer, parameter))


def set_optimizer_state(optimizer: optim.Optimizer, parameter: Tensor, state: Mapping[str, Tensor]) -> None:
    """Let the optimizer continue with copies of `state`; `load_state_dict` would load torch's compiler."""
    group = optimizer.param_groups[0]
    on_device = bool(group.get("fused") or group.get("capturable"))
    optimizer.state[parameter] = {
        name: value.to(parameter.device if on_device else "cpu", copy=True)
        if name == "step"
        else torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        for name, value in state.items()
    }


def _parameters(optimizer: optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@dataclass(frozen=True)
class Precision:
    """float32, or bfloat16 autocast over float32 weights; contiguous, or channels last."""

    device_type: str
    bf16: bool
    channels_last: bool

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Precision:
        """Read the precision of a recipe."""
        return cls(device.type, recipe.precision == "bf16", recipe.channels_last)

    @property
    def sums(self) -> torch.dtype:
        """The widest floating-point type of the device, for sums over many examples."""
        return torch.float32 if self.device_type == "mps" else torch.float64

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which forward passes run in bfloat16, if that is the precision."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return `inputs` in the recipe's memory format, which only images (N, C, H, W) have."""
        images = self.channels_last and inputs.dim() == 4
        return inputs.contiguous(memory_format=torch.channels_last) if images else inputs

    def convert(self, model: nn.Module) -> None:
        """Put the parameters of `model` in the recipe's memory format, in place."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)


class MaskedWeights:
    """Keeps masked weights at zero: they are zeroed once, and their gradients before every optimizer step.

    A weight, gradient, momentum and moment of zero give a step of zero under every optimizer of a recipe and
    under weight decay. That equals masking in the forward pass, under gradient clipping too. Masking the
    weights alone does not: gradients of removed weights would enter norms, moments and momentum.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        self._parameters = dict(model.named_parameters())
        self.change(masks)

    def change(self, masks: Mapping[str, Tensor]) -> None:
        """Take other masks in place of the present ones, and zero the weights that they remove."""
        partial = {name: mask for name, mask in masks.items() if not bool(mask.all())}
        self._names = list(partial)
        self._weights: list[Tensor] = [self._parameters[name] for name in partial]
        # In the memory layout of the gradients, so that all are multiplied at once on a GPU.
        self._masks = [torch.empty_like(self._parameters[name]).copy_(mask) for name, mask in partial.items()]
        self.mask_weights()

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of removed weights, in place."""
        pairs = [
            (w.grad, mask) for w, mask in zip(self._weights, self._masks, strict=True) if w.grad is not None
        ]
        if pairs:
            gradients, masks = zip(*pairs, strict=True)
            torch._foreach_mul_(gradients, masks)

    @torch.no_grad()
    def mask_weights(self) -> None:
        """Zero the removed weights, in place."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._masks)

    @torch.no_grad()
    def check(self) -> None:
        """Check that removed weights are zero.

        Raises:
            RuntimeError: A removed weight is not zero; the message names the first layer that has one.
        """
        for name, weight, mask in zip(self._names, self._weights, self._masks, strict=True):
            if bool(((weight != 0) & (mask == 0)).any()):
                raise RuntimeError(f"a removed weight of layer {name!r} is not zero after training")


class CompiledNetwork:
    """A network compiled for batches of one size, and with `graphs` recorded as CUDA graphs.

    Parameters and buffers are those of the network. Batches of another size, such as the smaller last one of
    an epoch, go through the network itself: compiling again takes longer than that saves.
    """

    def __init__(self, model: nn.Module, batch_size: int, *, graphs: bool) -> None:
        self._model, self._batch_size, self._graphs = model, batch_size, graphs
        # Earlier networks of a process count: after a few, the compiler would not compile this one.
        torch.compiler.reset()
        self._compiled = torch.compile(model, dynamic=False, mode="reduce-overhead" if graphs else "default")

    @classmethod
    def of(cls, training: Training) -> Self | None:
        """Compile the network of `training`; return None where its recipe says not to.

        Raises:
            SuiteError: The recipe requires CUDA graphs on a device that has none.
        """
        recipe, device = training.recipe, next(training.model.parameters()).device
        if recipe.compile == "no":
            return None
        graphs = recipe.compile == "cuda-graphs"
        if graphs and device.type != "cuda":
            raise SuiteError(
                f"compile 'cuda-graphs' has no effect on device {device.type!r}; use compile = 'yes', or a "
                "CUDA device"
            )
        batch_size = min(recipe.batch_size, len(training.examples.train))
        return cls(training.model, batch_size, graphs=graphs)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Compute the logits of `inputs` (N, C, H, W)."""
        network = self._compiled if len(inputs) == self._batch_size else self._model
        if self._graphs:
            # The outputs of the last step may be overwritten: nothing reads them any more.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Tensor = network(inputs)
        return logits
