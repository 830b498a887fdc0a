"""Prune any network in one call."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from synflow_bench.errors import HandledError, ModelError, ScoreError, UsageError, one_line
from synflow_bench.graph import unwrapped
from synflow_bench.host import Host
from synflow_bench.pruning.examples import as_inputs, first_example, read_examples
from synflow_bench.pruning.in_training import TrainingPruner
from synflow_bench.pruning.interface import Outputs, check_network, connect, gradients_enabled, size_of
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.problem import Examples, Loss, Problem
from synflow_bench.pruning.prunable import left_out, unexpectedly_left_out
from synflow_bench.pruning.pruner import Pruner, resolve_pruner
from synflow_bench.pruning.rounds import kept_randomness, run_pruner
from synflow_bench.pruning.trial import (
    Trial,
    TrialCopy,
    as_one,
    number_of,
    try_inputs,
    try_shape,
    with_examples,
)
from synflow_bench.suites import (
    Biases,
    GroupScore,
    PrunerSpec,
    PruningOptions,
    compression_of_sparsity,
    validate,
)


def prune(
    model: nn.Module,
    pruner: str | Pruner | type[Pruner],
    *,
    compression: float | None = None,
    sparsity: float | None = None,
    input_shape: Sequence[int] | None = None,
    example_inputs: Any = None,
    outputs: Outputs | None = None,
    data: Examples | Iterable[Any] | Dataset[Any] | None = None,
    loss: Loss = nn.functional.cross_entropy,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    biases: Biases = "keep",
    granularity: str = "weight",
    group_score: GroupScore = "sum",
    seed: int = 0,
    options: PruningOptions = PruningOptions(),
) -> Masks:
    """Choose which weights of a network to keep; the network itself is left as it is.

    A copy of the network is scored. It shares with the network what Python cannot copy, such as an attribute
    that holds a lock, and all that hooks or other functions reach outside of its modules: if forward passes
    write there, what they write stays. Calls from several threads run one after another.

    Prunable are the weight matrices of linear, convolutional, attention and recurrent layers. A warning names
    weights of other kinds, which are left out.

    Args:
        model: The network; what is prunable in it follows from `only`, `skip` and `options`.
        pruner: The name of an installed pruner, with parameters if wanted (`"synflow[rounds=10]"`), or a
            `Pruner`.
        compression: Prunable weights per kept weight: 100 keeps one weight in a hundred.
        sparsity: The same as the share of removed weights: 0.99 is compression 100. Give one of the two, or
            with granularity `n:m` none.
        input_shape: The shape of one example, such as (3, 32, 32). It may be left out with `example_inputs`
            or `data`, and for pruners that never run the network, such as magnitude and random.
        example_inputs: What the network takes in place of an image of `input_shape`: a tensor of any type
            (N, ...), such as token ids (N, T), or several as a tuple, or by name as a dictionary. Pruners
            without data use the first example, or all if the network takes no fewer, as nodes of a graph. A
            tensor as long as the first has an entry per example; one of another length, such as a mask for
            all examples, is passed as it is. A network that takes one list or one dictionary gets it as
            `(inputs,)`.
        outputs: The logits among several outputs of the network: a key, an attribute, an index, or a function
            of the outputs. `"logits"` fits networks in the style of Hugging Face.
        data: Inputs (N, ...) and labels (N,), several such batches, or a `Dataset`; all examples are used.
            Several inputs are a tuple or a dictionary in place of the inputs; a batch may also be one
            dictionary with `labels`. Arrays of numpy and lists of numbers are converted, images of uint8 to
            the range from 0 to 1. Pruners that look at no data need none.
        loss: A function of logits (N, K) and labels (N,) that gives the mean over the batch; by default cross
            entropy.
        only: The only parameters to prune: full names, modules or globs. A full name may be of any kind; a
            glob or module that names nothing prunable by default takes the matrices that it names.
        skip: Parameters not to prune, in the same way.
        biases: With `"zero"`, scores are those of a network whose biases and shifts are zero where they are
            not prunable; the network itself keeps them.
        granularity: The weights that are kept or removed together: `"weight"`, `"kernel"`, `"channel"`,
            `"fan-in"`, or `"2:4"` and the like, which fixes the compression.
        group_score: The score of a kernel or a channel: the `"sum"` of its weights' scores, their `"mean"` or
            their norm, `"l2"`.
        seed: The seed of whatever the pruner draws.
        options: Further parameters that are prunable, and the scope.

    Returns:
        The masks. `masks.apply_(model)` zeroes the weights that are not kept, `masks.hold(model)` keeps them
        zero in training, and `masks.left_out` names the weights that were not prunable.

    Raises:
        UsageError: If the compression is below 1 or beyond the number of weights, or an argument does not fit
            the network or the pruner.
        UnknownNameError: If no pruner, or no parameter, has this name.
        ModelError: If the network has nothing to prune, or cannot take the input.
        NotDefinedError: If the method is not defined for this network at this compression.
        ScoreError: If the scores cannot be computed or ranked.

    Example:
        >>> import torch
        >>> import synflow_bench as sfb
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
        >>> masks = sfb.prune(model, "synflow", sparsity=0.9, input_shape=(20,))
        >>> masks.kept, masks.size
        (150, 1500)
        >>> sfb.prune(model, "magnitude", compression=10, skip="2").left_out
        ('2.weight',)
    """
    chosen = _chosen(pruner)
    title = repr(pruner) if isinstance(pruner, str) else type(chosen).__name__
    if isinstance(chosen, TrainingPruner):
        raise UsageError(
            f"pruner {title} changes its masks in training, which prune() does not do; use run()"
        )
    grouped = {"granularity": granularity, "group_score": group_score}
    options = _options(options, only=only, skip=skip, biases=biases, **grouped)
    density = 1 / _compression(compression, sparsity, options)
    check_network(model)
    if not callable(loss):
        raise UsageError(f"loss is a {type(loss).__name__}; pass a function of logits and labels")
    if chosen.needs_data and data is None:
        raise UsageError(f"pruner {title} scores with data; pass data=(inputs, labels)")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with gradients_enabled(), kept_randomness(device):
        problem = _pose(model, loss, options, _generator(seed))
        connect(problem.model, outputs)
        tried = problem
        if not (input_shape is None and example_inputs is None and data is None):
            tried = replace(problem, model=TrialCopy(problem.model, model))
        problem = _with_inputs(problem, tried, chosen, title, _shape(input_shape), example_inputs, data, loss)
        del tried  # and its copy of the network
        for line in _warnings(model, options):
            warnings.warn(line, stacklevel=2)
        try:
            pruned = run_pruner(chosen, problem, density)
        except HandledError:
            raise
        except Exception as error:  # a network may use what a method cannot differentiate
            if not isinstance(pruner, str):
                raise  # for the author of the pruner
            reason = one_line(error, first_line=True)
            raise ScoreError(f"pruner {pruner!r} fails on this network: {reason}{_fixed(problem)}") from error
    for line in pruned.warnings:
        warnings.warn(line, stacklevel=2)
    return Masks(pruned.masks, left_out=left_out(model, pruned.masks))


def _pose(model: nn.Module, loss: Loss, options: PruningOptions, generator: torch.Generator) -> Problem:
    if isinstance(unwrapped(model)[0], torch.jit.ScriptModule):
        raise ModelError("the network is a script; pass the module it was made of")
    return Problem.of(model, input_shape=(), num_classes=0, generator=generator, loss=loss, options=options)


def _with_inputs(
    problem: Problem,
    tried: Problem,
    pruner: Pruner,
    title: str,
    shape: tuple[int, ...] | None,
    example_inputs: Any,
    data: Any,
    loss: Loss,
) -> Problem:
    """Return the problem with the inputs and the data on which the network was tried.

    The network of `problem` does not run: it might keep something for its next call.

    Raises:
        UsageError: Inputs, data or labels have another form.
        ModelError: The network cannot take them.
    """
    trial: Trial | None = None
    given = None if example_inputs is None else as_inputs(example_inputs)
    examples = read_examples(data, number_of(given)) if pruner.needs_data else None
    try:
        if given is not None:
            trial = try_inputs(tried, given, keep=True)
        elif shape is not None:
            trial = try_shape(tried, shape)
        elif examples is not None:
            trial = try_inputs(tried, examples[0], keep=False)
        elif data is not None and (first := first_example(data)) is not None:
            trial = try_inputs(tried, first, keep=False)
    except ModelError as error:
        # A call with too few arguments and outputs that are no logits do not matter without a forward pass.
        if pruner.needs_forward or isinstance(error.__cause__, RuntimeError | ValueError | AssertionError):
            raise
    if trial is None:
        if pruner.needs_forward:
            raise UsageError(
                f"pruner {title} runs the network; pass input_shape=(3, 32, 32), or "
                "example_inputs= for tokens and several inputs"
            )
        return problem
    problem = replace(
        problem,
        input_shape=shape if shape is not None and given is None else trial.input_shape,
        num_classes=trial.num_classes,
        example_inputs=trial.inputs,
    )
    if examples is None:
        return problem
    return with_examples(problem, try_inputs(tried, examples[0], keep=False), examples, loss)


def _fixed(problem: Problem) -> str:
    """Return the way out for a network that takes a fixed number of examples, if it is one."""
    size = size_of(problem.example_inputs)
    return (
        f"; it takes only {size} examples at a time; {as_one(size, problem.input_shape)}" if size > 1 else ""
    )


def _warnings(model: nn.Module, options: PruningOptions) -> Iterator[str]:
    names = unexpectedly_left_out(model, options)
    if names:
        some = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield (
            f"not pruned: {some}; add embeddings with options=PruningOptions(prune_embedding=True), "
            "others by name or glob in only=, or name them in skip= to silence this"
        )


def _chosen(pruner: Any) -> Pruner:
    kind = pruner if isinstance(pruner, type) else type(pruner)
    if issubclass(kind, Pruner):
        if fault := kind.undefined_methods():
            raise UsageError(f"pruner class {kind.__qualname__} {fault}")
        chosen: Pruner = pruner() if isinstance(pruner, type) else pruner
        return chosen
    if isinstance(pruner, str):
        return _installed(pruner)
    raise UsageError(f"pruner is a {type(pruner).__name__}; pass a name such as 'synflow', or a Pruner")


def _options(options: Any, **arguments: Any) -> PruningOptions:
    """Return the options with those arguments of `prune` that are not at their neutral defaults."""
    if not isinstance(options, PruningOptions):
        return _options(validate(PruningOptions, options, "options"), **arguments)
    neutral = {name: PruningOptions.model_fields[name].default for name in arguments}
    given = {name: value for name, value in arguments.items() if value != neutral[name]}
    if not given:
        return options
    changed: PruningOptions = validate(PruningOptions, {**options.model_dump(), **given}, "prune")
    return changed


def _shape(input_shape: Any) -> tuple[int, ...] | None:
    if input_shape is None:
        return None
    sizes = [input_shape] if isinstance(input_shape, Integral) else input_shape
    try:
        shape = tuple(operator.index(size) for size in sizes)
    except TypeError:
        shape = (-1,)
    if any(size < 1 for size in shape):
        raise UsageError(f"input_shape {input_shape!r} is not the shape of one example, such as (3, 32, 32)")
    return shape


def _generator(seed: Any) -> torch.Generator:
    try:
        if isinstance(seed, bool):
            raise TypeError("a bool")  # noqa: TRY301
        return torch.Generator().manual_seed(operator.index(seed))
    except (TypeError, RuntimeError, OverflowError, ValueError) as error:
        raise UsageError(f"seed {seed!r} is not an integer of 64 bits; pass one such as 0") from error


def _compression(compression: Any, sparsity: Any, options: PruningOptions) -> float:
    if options.pattern is not None and compression is None and sparsity is None:
        n, m = options.pattern
        return m / n
    asked = _asked_compression(compression, sparsity)
    try:
        return options.exact_compression(asked)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _asked_compression(compression: Any, sparsity: Any) -> float:
    if (compression is None) == (sparsity is None):
        raise UsageError("give compression=10 or sparsity=0.9, one of the two")
    name, value = ("compression", compression) if sparsity is None else ("sparsity", sparsity)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} {value!r} is a {type(value).__name__}; pass a number such as 10 or 0.9")
    if sparsity is not None:
        return compression_of_sparsity(sparsity)
    number = float(value)
    if not 1 <= number < inf:
        raise UsageError(f"compression {number:g} is not a number from 1 on; 10 keeps one weight in ten")
    return number


def _installed(text: str) -> Pruner:
    spec = validate(PrunerSpec, text, "pruner")
    host = Host.load()
    host.check()
    kind: type[Pruner] = host.pruners.get(spec.name)
    return resolve_pruner(kind, spec)[0]
