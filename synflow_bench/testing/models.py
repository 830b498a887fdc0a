"""What every model must keep to: one small function a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from synflow_bench.errors import ModelError
from synflow_bench.metrics import uses_of_weights
from synflow_bench.pruning import prunable_parameters
from synflow_bench.suites import PruningOptions
from synflow_bench.testing import _surroundings
from synflow_bench.testing._dependencies import Dependencies
from synflow_bench.testing._rule import Broken, Rule, gate, rule
from synflow_bench.testing._watched import State, changed

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 64, 64))
"""The inputs that a model is tried on; it must take one, and may refuse the others by a `ModelError`."""
CLASSES = 10
EXAMPLES = 4


@dataclass
class ModelSubject:
    """A factory of networks; `load` brings it, imported now if need be."""

    name: str
    load: Callable[[], Any]
    dependencies: Dependencies = field(default_factory=Dependencies)

    @cached_property
    def factory(self) -> Callable[..., nn.Module]:
        """The factory."""
        factory: Callable[..., nn.Module] = self.load()
        return factory

    @cached_property
    def shape(self) -> Shape:
        """The first of `SHAPES` that the model takes."""
        for shape in SHAPES:
            try:
                self.factory(shape, CLASSES)
            except ModelError:
                continue
            return shape
        raise Broken(f"it takes none of {', '.join(map(told, SHAPES))}")

    def build(self, seed: int = 0, classes: int = CLASSES) -> nn.Module:
        """A network with weights drawn from a global generator of this seed."""
        torch.manual_seed(seed)
        return self.factory(self.shape, classes)

    def inputs(self) -> Tensor:
        """Four examples of noise."""
        return noise(self.shape)


def factory(subject: ModelSubject) -> None:
    """Is a factory that gives an nn.Module for (input_shape, num_classes)."""
    if not callable(subject.factory):
        kind = type(subject.factory).__name__
        raise Broken(f"a {kind} is not callable; give factory(input_shape, num_classes, **options)")
    network = subject.factory(subject.shape, CLASSES)
    if not isinstance(network, nn.Module):
        raise Broken(f"the factory gives a {type(network).__name__}, not a torch.nn.Module")


def logits(subject: ModelSubject) -> None:
    """Gives one finite logit a class for every example, for 10 classes and for 7."""
    for classes in (CLASSES, 7):
        check_logits(subject.build(classes=classes), subject.inputs(), classes)


def fresh(subject: ModelSubject) -> None:
    """Builds a new network at every call, which shares no tensor with another."""
    first, second = subject.build(), subject.build()
    shared = set(_addresses(first)) & set(_addresses(second))
    if first is second or shared:
        raise Broken("two calls of the factory share tensors; build new layers in every call")


def seeded(subject: ModelSubject) -> None:
    """Draws its weights from torch's global generator: equal seeds give equal weights, others do not."""
    first, again, other = (_weights(subject.build(seed)) for seed in (1, 1, 2))
    if names := changed(first, again):
        raise Broken(f"{names[0]} differs between two networks of one seed; draw from torch's generator")
    if not changed(first, other):
        raise Broken("networks of two seeds have the same weights; do not seed inside the factory")


def inputs(subject: ModelSubject) -> str:
    """Follows the input's channels and size, or refuses them by a ModelError."""
    taken, refused = [], []
    for shape in SHAPES:
        try:
            network = subject.factory(shape, CLASSES)
        except ModelError:
            refused.append(told(shape))
            continue
        except Exception as error:
            raise Broken(f"{told(shape)}: raises {_line(error)}; refuse a size by a ModelError") from error
        _answer(network, shape)
        taken.append(told(shape))
    return f"takes {', '.join(taken)}" + (f"; refuses {', '.join(refused)}" if refused else "")


def prunable(subject: ModelSubject) -> None:
    """Has weights to prune, and uses all of them."""
    network = subject.build()
    names = prunable_parameters(network, PruningOptions())
    uses, _ = uses_of_weights(network, noise(subject.shape)[:1])
    idle = [name for name in names if not uses.get(name)]
    if idle:
        raise Broken(f"{', '.join(idle)} takes no part in the forward pass")


def gradients(subject: ModelSubject) -> None:
    """Passes a finite gradient to every parameter that is trained, and one that is not zero to weights."""
    network = subject.build().train()
    loss = nn.functional.cross_entropy(network(subject.inputs()), torch.arange(EXAMPLES) % CLASSES)
    loss.backward()  # type: ignore[no-untyped-call]
    weights = prunable_parameters(network, PruningOptions())
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            raise Broken(f"no gradient reaches {name!r}")
        if not bool(torch.isfinite(parameter.grad).all()):
            raise Broken(f"the gradient of {name!r} is not finite")
        if name in weights and not bool(parameter.grad.any()):
            raise Broken(f"the gradient of {name!r} is zero everywhere")


def repeatable(subject: ModelSubject) -> None:
    """Gives equal logits twice in eval mode, and changes nothing by it."""
    network, examples = subject.build().eval(), subject.inputs()
    before, randomness = State.of(network), _surroundings.randomness()
    with torch.no_grad():
        first, second = network(examples), network(examples)
    if not torch.equal(first, second):
        raise Broken("two forward passes in eval mode give different logits")
    drawn = _surroundings.differences(randomness, _surroundings.randomness())
    now = State.of(network)
    touched = changed(before.weights, now.weights) + changed(before.buffers, now.buffers) + drawn
    if touched:
        raise Broken(f"a forward pass in eval mode changes {', '.join(touched)}")


def copies(subject: ModelSubject) -> None:
    """Can be copied: every pruner is given a copy."""
    network = subject.build().eval()
    try:
        copy = deepcopy(network)
    except Exception as error:
        raise Broken(f"deepcopy raises {_line(error)}") from error
    if not torch.equal(_answered(network, subject.inputs()), _answered(copy, subject.inputs())):
        raise Broken("a copy gives other logits")


def global_state(subject: ModelSubject) -> None:
    """Leaves torch's settings, global hooks, the environment and other random generators as they were."""
    _ = subject.shape
    before = _surroundings.settings() | _surroundings.global_hooks()
    randomness = _surroundings.randomness()
    subject.build()(subject.inputs())
    after = _surroundings.settings() | _surroundings.global_hooks()
    drawn = _surroundings.differences(randomness, _surroundings.randomness())
    touched = _surroundings.differences(before, after) + [
        f"the random state of {name}" for name in drawn if name != "torch"
    ]
    if touched:
        raise Broken(f"building and running it changes {', '.join(touched)}")


MODEL_RULES: tuple[Rule[ModelSubject], ...] = (
    gate(factory),
    gate(logits),
    gate(fresh),
    rule(seeded),
    rule(inputs),
    rule(prunable),
    rule(gradients),
    rule(repeatable),
    rule(copies),
    rule(global_state),
)


def told(shape: Shape) -> str:
    """A shape as one reads it: 3x32x32."""
    return "x".join(map(str, shape))


def noise(shape: Shape) -> Tensor:
    """Four examples (4, C, H, W) of standard normal noise, always the same."""
    return torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))


def check_logits(network: nn.Module, examples: Tensor, classes: int) -> None:
    """Raise `Broken` unless the network answers with finite logits (N, classes), in both modes."""
    for training in (True, False):
        answer = network.train(training)(examples)
        if not isinstance(answer, Tensor) or tuple(answer.shape) != (len(examples), classes):
            given = tuple(answer.shape) if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
            raise Broken(f"for {len(examples)} examples and {classes} classes it gives {given}")
        if not answer.is_floating_point() or not bool(torch.isfinite(answer).all()):
            raise Broken(f"its logits in {'training' if training else 'eval'} mode are not finite numbers")


def _answer(network: nn.Module, shape: Shape) -> None:
    try:
        check_logits(network, noise(shape), CLASSES)
    except Broken as fault:
        raise Broken(f"{told(shape)}: {fault}") from fault
    except Exception as error:
        raise Broken(f"{told(shape)}: builds, and then raises {_line(error)}") from error


@torch.no_grad()
def _answered(network: nn.Module, examples: Tensor) -> Tensor:
    """The logits with equal draws, whatever a network draws in its forward pass."""
    torch.manual_seed(0)
    logits: Tensor = network(examples)
    return logits


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.named_parameters())


def _addresses(network: nn.Module) -> Iterator[int]:
    for tensor in chain(network.parameters(), network.buffers()):
        if tensor.numel():
            yield tensor.untyped_storage().data_ptr()


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
