"""The rules for models, one function per rule, and the factory that they check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn

from synflow_bench.errors import ModelError, one_line
from synflow_bench.metrics import uses_of_weights
from synflow_bench.pruning import prunable_parameters
from synflow_bench.suites import PruningOptions
from synflow_bench.testing import state
from synflow_bench.testing.rules import Broken, PluginSubject, Rule, gate, rule
from synflow_bench.testing.state import NetworkState, changed
from synflow_bench.training import is_tokens

Shape = tuple[int, ...]
SHAPES: tuple[Shape, ...] = ((3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 64, 64))
"""The shapes (C, H, W) of images on which a model is tried; it must accept one of them, or sequences."""
SEQUENCES: tuple[Shape, ...] = ((32,), (8,))
"""The shapes (length,) of sequences of tokens that a model is tried on if it takes no images."""
CLASSES = 10
FEWER_CLASSES = 7
EXAMPLES = 4


@dataclass
class ModelSubject(PluginSubject):
    """A model to check: a factory of networks."""

    @property
    def factory(self) -> Callable[..., nn.Module]:
        """The factory."""
        factory: Callable[..., nn.Module] = self.plugin
        return factory

    @cached_property
    def shape(self) -> Shape:
        """The first of `SHAPES` and `SEQUENCES` that the model accepts.

        Raises:
            Broken: It accepts none of them.
        """
        for shape in (*SHAPES, *SEQUENCES):
            try:
                self.factory(shape, CLASSES)
            except ModelError:
                continue
            return shape
        raise Broken(
            f"it accepts none of {', '.join(map(_text, SHAPES))}, and no sequences of tokens (length,)"
        )

    def build(self, seed: int = 0, classes: int = CLASSES) -> nn.Module:
        """Build a network with weights from torch's global generator with this seed."""
        torch.manual_seed(seed)
        return self.factory(self.shape, classes)

    def inputs(self) -> Tensor:
        """Return examples (4, C, H, W) of the accepted shape, or (4, length) int64."""
        return _noise(self.shape)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _noise(shape: Shape) -> Tensor:
    """Return four examples of standard normal noise (4, C, H, W), or of random tokens; always the same."""
    generator = torch.Generator().manual_seed(0)
    if is_tokens(shape):
        return torch.randint(FEWER_CLASSES, (EXAMPLES, *shape), generator=generator)
    return torch.randn(EXAMPLES, *shape, generator=generator)


def factory(subject: ModelSubject) -> None:
    """The model is a factory that returns an nn.Module for (input_shape, num_classes)."""
    if not callable(subject.factory):
        kind = type(subject.factory).__name__
        raise Broken(f"a {kind} is not callable; give factory(input_shape, num_classes, **options)")
    network = subject.factory(subject.shape, CLASSES)
    if not isinstance(network, nn.Module):
        raise Broken(f"the factory returns a {type(network).__name__}, not a torch.nn.Module")


def logits(subject: ModelSubject) -> None:
    """The network gives one finite logit per class for every example, for 10 classes and for 7."""
    for classes in (CLASSES, FEWER_CLASSES):
        _require_logits(subject.build(classes=classes), subject.inputs(), classes)


def _require_logits(network: nn.Module, examples: Tensor, classes: int) -> None:
    for training in (True, False):
        network.train(training)
        answer = network(examples)
        if not isinstance(answer, Tensor) or tuple(answer.shape) != (len(examples), classes):
            found = tuple(answer.shape) if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
            raise Broken(f"for {len(examples)} examples and {classes} classes it returns {found}")
        if not answer.is_floating_point() or not bool(torch.isfinite(answer).all()):
            raise Broken(f"its logits in {'training' if training else 'eval'} mode are not finite numbers")


def fresh(subject: ModelSubject) -> None:
    """The factory builds a new network in every call, which shares no tensor with another."""
    first, second = subject.build(), subject.build()
    if first is second or set(_addresses(first)) & set(_addresses(second)):
        raise Broken("two calls of the factory share tensors; build new layers in every call")


def _addresses(network: nn.Module) -> Iterator[int]:
    for tensor in chain(network.parameters(), network.buffers()):
        if tensor.numel():
            yield tensor.untyped_storage().data_ptr()


def seeded(subject: ModelSubject) -> None:
    """The factory draws weights from torch's global generator: only equal seeds give equal weights."""
    first, again, other = (dict(subject.build(seed).named_parameters()) for seed in (1, 1, 2))
    if names := changed(first, again):
        raise Broken(f"{names[0]} differs between two networks of one seed; draw from torch's generator")
    if not changed(first, other):
        raise Broken("networks of two seeds have the same weights; do not seed inside the factory")


def inputs(subject: ModelSubject) -> str:
    """The factory adapts to the input's channels and size, or rejects them with a ModelError."""
    accepted, rejected = [], []
    for shape in SEQUENCES if is_tokens(subject.shape) else SHAPES:
        try:
            network = subject.factory(shape, CLASSES)
        except ModelError:
            rejected.append(_text(shape))
            continue
        except Exception as error:
            reason = f"raises {one_line(error)}; reject a size with a ModelError"
            raise Broken(f"{_text(shape)}: {reason}") from error
        try:
            _require_logits(network, _noise(shape), CLASSES)
        except Broken as fault:
            raise Broken(f"{_text(shape)}: {fault}") from fault
        except Exception as error:
            raise Broken(f"{_text(shape)}: builds, and then raises {one_line(error)}") from error
        accepted.append(_text(shape))
    return f"accepts {', '.join(accepted)}" + (f"; rejects {', '.join(rejected)}" if rejected else "")


def prunable(subject: ModelSubject) -> None:
    """The network has prunable weights, and uses all of them."""
    network = subject.build()
    names = prunable_parameters(network, PruningOptions())
    uses, _ = uses_of_weights(network, subject.inputs()[:1])
    if unused := [name for name in names if not uses.get(name)]:
        raise Broken(f"{', '.join(unused)} takes no part in the forward pass")


def gradients(subject: ModelSubject) -> None:
    """Every trained parameter gets a finite gradient, and every weight one that is not zero."""
    network = subject.build()
    network.train()
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
    """Two forward passes in eval mode give equal logits and change nothing."""
    network, examples = subject.build(), subject.inputs()
    network.eval()
    before, randomness = NetworkState.of(network), state.random_states()
    with torch.no_grad():
        first, second = network(examples), network(examples)
    if not torch.equal(first, second):
        raise Broken("two forward passes in eval mode give different logits")
    drawn = changed(randomness, state.random_states())
    after = NetworkState.of(network)
    touched = changed(before.weights, after.weights) + changed(before.buffers, after.buffers) + drawn
    if touched:
        raise Broken(f"a forward pass in eval mode changes {', '.join(touched)}")


def copies(subject: ModelSubject) -> None:
    """The network can be copied: every pruner works on a copy."""
    network = subject.build()
    network.eval()
    try:
        copy = deepcopy(network)
    except Exception as error:
        raise Broken(f"deepcopy raises {one_line(error)}") from error
    if not torch.equal(_seeded_logits(network, subject.inputs()), _seeded_logits(copy, subject.inputs())):
        raise Broken("a copy gives other logits")


@torch.no_grad()
def _seeded_logits(network: nn.Module, examples: Tensor) -> Tensor:
    """Return the logits, with the same random draws for every network that draws in its forward pass."""
    torch.manual_seed(0)
    logits: Tensor = network(examples)
    return logits


def global_state(subject: ModelSubject) -> None:
    """The model leaves torch's settings and hooks, the environment and other generators as they were."""
    _ = subject.shape
    before, randomness = state.global_settings() | state.global_hooks(), state.random_states()
    subject.build()(subject.inputs())
    touched = changed(before, state.global_settings() | state.global_hooks())
    drawn = changed(randomness, state.random_states())
    touched += [f"the random state of {name}" for name in drawn if name != "torch"]
    if touched:
        raise Broken(f"building and running it changes {', '.join(touched)}")


MODEL_RULES: tuple[Rule[ModelSubject], ...] = (
    *map(gate, (factory, logits, fresh)),
    *map(rule, (seeded, inputs, prunable, gradients, repeatable, copies, global_state)),
)
"""The rules for models, in the order of their check."""
