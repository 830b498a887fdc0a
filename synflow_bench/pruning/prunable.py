"""The prunable parameters of a network: weight matrices, and what options add or leave out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from synflow_bench.errors import ModelError, UnknownNameError, UsageError
from synflow_bench.suites import PruningOptions

LINEAR = (nn.Linear, nn.Bilinear)
CONVOLUTION = (_ConvNd,)
ATTENTION = (nn.MultiheadAttention,)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
EMBEDDING = (nn.Embedding, nn.EmbeddingBag)


class ResidualScale(nn.Module):
    """A factor per channel of an identity shortcut, which makes the shortcut prunable.

    The factors `scale` (C,) are ones and are not trained, so that nothing changes until `prune_residual`
    removes some of them: then the shortcut of these channels is cut.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020,
    arXiv 2006.05467, whose code has this option.

    Args:
        channels: The number C of channels.

    Shape:
        - Input and output: (N, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of `x`."""
        return x * self.scale[:, None, None]


def prunable_parameters(
    model: nn.Module, options: PruningOptions, *, called: str | None = None
) -> dict[str, nn.Parameter]:
    """Return the prunable parameters of `model` by name, in the order of its modules.

    These are the weight matrices of linear, convolutional, attention and recurrent layers. A tensor that
    several modules share has its first name in `model.named_parameters()`. A weight that is computed from
    another tensor, as by weight norm, is pruned through the tensor that is trained.

    Args:
        model: The network.
        options: Adds embeddings, biases, the scales and shifts of batch norm and the scales of
            `ResidualScale`, leaves out the classifier with all that shares its weights, or takes parameters
            by name. The classifier is the last linear layer, or the last convolution of a network without
            linear layers.
        called: The name of the network in messages; by default its class.

    Raises:
        ModelError: Nothing is prunable, a layer has no weights yet, or the options name residual scales and
            the network has none.
        UsageError: A name or a pattern of the options matches no parameter.

    Example:
        >>> from torch import nn
        >>> from synflow_bench import PruningOptions
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> list(prunable_parameters(model, PruningOptions(prune_bias=True)))
        ['0.weight', '0.bias', '2.weight', '2.bias']
        >>> list(prunable_parameters(model, PruningOptions(skip="2")))
        ['0.weight']
    """
    called = called or type(model).__name__
    _check_layers(model, options, called)
    parameters = _Parameters(model)
    dense = {id(parameter) for parameter in _classifier(model)} if options.dense_classifier else set()
    by_kind = [
        parameters.all[name]
        for path, module in model.named_modules()
        for name in _names(path, module, options)
    ]
    wanted = {id(p): p for p in by_kind if id(p) not in dense and p.numel() and p.is_floating_point()}
    if options.only:
        named = parameters.matched(options.only, "only", wanted)
        wanted = {id(p): p for p in [*wanted.values(), *parameters.all.values()] if id(p) in named}
    if options.skip:
        skipped = parameters.matched(options.skip, "skip")
        wanted = {key: p for key, p in wanted.items() if key not in skipped}
    for parameter in wanted.values() or by_kind:
        if not parameter.is_floating_point():
            name = parameters.first_names[id(parameter)]
            raise ModelError(f"{called}: {name!r} is {parameter.dtype}; only real weights can be ranked")
    if not wanted:
        others = left_out(model, ())
        way_out = f", or `only` with names such as {others[0]!r}" if others else ""
        if options.only or options.skip:
            way_out = "; `only` and `skip` leave nothing"
        raise ModelError(f"{called} has nothing to prune; it needs a linear or convolutional layer{way_out}")
    return {parameters.first_names[key]: p for key, p in wanted.items()}


def is_bias(name: str) -> bool:
    """Return True for the name of a bias or shift, also of one that a parametrization computes.

    Attention and recurrent layers have several, such as `in_proj_bias` and `bias_ih_l0`.

    Example:
        >>> is_bias("norm.bias"), is_bias("lstm.bias_ih_l0"), is_bias("fc.weight")
        (True, True, False)
    """
    *before, last = name.split(".")
    if before[-2:-1] == ["parametrizations"]:
        last = before[-1]
    return last.startswith("bias") or last.endswith("_bias")


@torch.no_grad()
def zero_biases(model: nn.Module, prunable: Container[str]) -> None:
    """Set all biases and shifts of `model` to zero but those in `prunable`."""
    for name, parameter in model.named_parameters():
        if is_bias(name) and name not in prunable:
            parameter.zero_()


def left_out(model: nn.Module, prunable: Iterable[str]) -> tuple[str, ...]:
    """Name the weights of a network that are not prunable, in the order of its parameters.

    Biases and other vectors are not among them: these are the tensors with two dimensions or more.

    Args:
        model: The network.
        prunable: The names of its prunable parameters.

    Example:
        >>> from torch import nn
        >>> left_out(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), ["1.weight"])
        ('0.weight',)
    """
    names = set(prunable)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, EMBEDDING)}
    return tuple(
        name
        for name, parameter in nn.Module.named_parameters(model)
        if name not in names and (_is_matrix(parameter) or id(parameter) in embeddings)
    )


def _is_matrix(parameter: Tensor) -> bool:
    """Return True for a tensor with two long dimensions, but for one that is added to every example alike."""
    added = parameter.dim() > 2 and parameter.shape[0] == 1
    return sum(size > 1 for size in parameter.shape) > 1 and not added


def unexpectedly_left_out(model: nn.Module, options: PruningOptions) -> tuple[str, ...]:
    """Name the weights that are left out though no option says so."""
    if options.only:
        return ()
    plain = options.model_copy(update={"skip": (), "dense_classifier": False})
    names = left_out(model, prunable_parameters(model, plain))
    return tuple(name for name in names if not any(_matches(name, pattern) for pattern in options.skip))


def original_names(path: str, module: nn.Module, name: str) -> list[str]:
    """Return the full names of the parameters behind the tensor `name` of a module.

    That is the tensor itself, or what weight norm, spectral norm or another parametrization computes it from:
    the original of the same shape, or all matrices where none has it.
    """
    prefix = f"{path}." if path else ""
    if is_parametrized(module, name):
        parametrization = getattr(module.parametrizations, name)
        prefix, names = f"{prefix}parametrizations.{name}.", _originals(parametrization)
    else:
        names = [each for each in (name, f"{name}_orig", f"{name}_v") if each in module._parameters][:1]
        if module._parameters.get(name, ...) is None:
            names = []
    return [f"{prefix}{each}" for each in names]


def _originals(parametrization: ParametrizationList) -> list[str]:
    found = {
        n: p for n, p in parametrization._parameters.items() if p is not None and n.startswith("original")
    }
    if len(found) > 1:
        with torch.no_grad():
            shape = parametrization().shape
        alike = [name for name, p in found.items() if p.shape == shape]
        return alike or [name for name, p in found.items() if p.dim() > 1]
    return list(found)


@torch.no_grad()
def keeps_zeros(module: nn.Module, name: str) -> bool:
    """Return True if entries that are zero in the original of a tensor are zero in the tensor itself.

    They are not where an orthogonal or symmetric matrix is computed from all entries, nor where no original
    has the shape of the tensor, nor in a layer whose own forward computes other weights, as one with
    standardized weights does.
    """
    if not is_parametrized(module, name):
        # Else torch's older weight norm, spectral norm and pruning, which do.
        return not (name == "weight" and _has_own_forward(module)) or _uses_zeros(module)
    parametrization = deepcopy(getattr(module.parametrizations, name)).eval()
    originals = [parametrization._parameters[each] for each in _originals(parametrization)]
    original = next((p for p in originals if p is not None and p.shape == getattr(module, name).shape), None)
    if original is None:
        return False
    removed = torch.rand(original.shape, generator=torch.Generator().manual_seed(0)).to(original.device) < 0.5
    original.masked_fill_(removed, 0)
    return not bool(parametrization()[removed].any())


def _has_own_forward(module: nn.Module) -> bool:
    kind = next((kind for kind in (nn.Linear, _ConvNd) if isinstance(module, kind)), None)
    return kind is not None and any(
        "forward" in name and not each.__module__.startswith("torch.")
        for each in type(module).__mro__
        for name in vars(each)
        if issubclass(each, kind)
    )


def _uses_zeros(layer: nn.Module) -> bool:
    """Return True if what a linear layer or a convolution multiplies with is zero where its weight is."""
    with torch.random.fork_rng(devices=[]):
        layer = deepcopy(layer).eval()
        weight = layer._parameters.get("weight")
        if weight is None or weight.is_meta:
            return True
        for name, parameter in layer.named_parameters():
            parameter.fill_(float(not is_bias(name)))  # a gain may begin at zero
        weight.copy_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)).sub_(0.5).relu_())
        sizes = weight.shape[1:2]
        if isinstance(layer, _ConvNd):
            kernels = zip(layer.kernel_size, layer.dilation, strict=True)
            sizes = torch.Size([layer.in_channels, *((size - 1) * apart + 1 for size, apart in kernels)])
        try:
            with _Factors(weight) as factors:
                layer.forward(weight.new_zeros(1, *sizes))
        except Exception:  # a layer may ask for anything
            return True
    return not factors.dense


class _Factors(TorchFunctionMode):
    """Finds out whether products are computed of what has the size of a weight, and fewer zeros."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.dense, self._size, self._filled = False, weight.numel(), int(weight.count_nonzero())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        called = getattr(func, "__name__", "").strip("_")
        if called.startswith("conv") or called in {"linear", "matmul", "rmatmul", "einsum", "mm", "addmm"}:
            self.dense |= any(
                isinstance(leaf, Tensor)
                and leaf.numel() == self._size
                and int(leaf.count_nonzero()) > self._filled
                for leaf in tree_leaves((args, kwargs))
            )
        return func(*args, **(kwargs or {}))


def dense_in_use(model: nn.Module, pruned: Container[str]) -> list[str]:
    """Name the pruned weights from which the forward of their layer computes others that keep no zeros."""
    return [
        name
        for path, module in model.named_modules()
        if _has_own_forward(module) and not is_parametrized(module, "weight")
        for name in original_names(path, module, "weight")
        if name in pruned and not keeps_zeros(module, "weight")
    ]


def dense_behind_masks(model: nn.Module, pruned: Container[str]) -> list[str]:
    """Name the pruned tensors from which weights of their shape are computed that keep no zeros."""
    return [
        name
        for path, module in model.named_modules()
        for tensor in (module.parametrizations if is_parametrized(module) else ())
        for name in original_names(path, module, tensor)
        if name in pruned
        and model.get_parameter(name).shape == getattr(module, tensor).shape
        and not keeps_zeros(module, tensor)
    ] + dense_in_use(model, pruned)


@dataclass(frozen=True)
class LayerTensors:
    """The names of the tensors of a layer: its weight matrices and its biases."""

    weights: tuple[str, ...]
    biases: tuple[str, ...] = ()


def tensors_of(module: nn.Module) -> LayerTensors | None:
    """Return the names of the tensors of a layer with weight matrices; None for another module."""
    if isinstance(module, (*LINEAR, *CONVOLUTION)):
        return LayerTensors(("weight",), ("bias",))
    if isinstance(module, ATTENTION):
        return LayerTensors(
            ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"), ("in_proj_bias",)
        )
    if isinstance(module, nn.RNNBase):
        names = module._flat_weights_names
        return LayerTensors(
            tuple(name for name in names if name.startswith("weight")),
            tuple(name for name in names if name.startswith("bias")),
        )
    if isinstance(module, RECURRENT):
        return LayerTensors(("weight_ih", "weight_hh"), ("bias_ih", "bias_hh"))
    return None


def _names(path: str, module: nn.Module, options: PruningOptions) -> Iterator[str]:
    tensors: list[str] = []
    layer = tensors_of(module)
    if layer is not None:
        tensors = [*layer.weights, *(layer.biases if options.prune_bias else ())]
    elif isinstance(module, EMBEDDING) and options.prune_embedding:
        tensors = ["weight"]
    elif isinstance(module, _BatchNorm) and options.prune_batchnorm:
        tensors = ["weight", "bias"]
    elif isinstance(module, ResidualScale) and options.prune_residual:
        tensors = ["scale"]
    for name in tensors:
        yield from original_names(path, module, name)


def _classifier(model: nn.Module) -> Iterator[nn.Parameter]:
    for kind in (nn.Linear, _ConvNd):
        layers = [module for module in model.modules() if isinstance(module, kind)]
        if layers:
            return layers[-1].parameters()
    return iter(())


def _check_layers(model: nn.Module, options: PruningOptions, called: str) -> None:
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ModelError(
                f"{called}: {name!r} of a lazy layer has no values yet; run the network once first"
            )
    if options.prune_residual and not any(isinstance(module, ResidualScale) for module in model.modules()):
        raise ModelError(
            f"{called} has no residual scales to prune; leave out prune_residual, or build a "
            "residual network with its option `residual = true`"
        )


class _Parameters:
    """The parameters of a network by all of their names."""

    def __init__(self, model: nn.Module) -> None:
        # Not by a method of the network's own, which may give other names.
        self.all = dict(nn.Module.named_parameters(model, remove_duplicate=False))
        self.first_names = {id(p): name for name, p in nn.Module.named_parameters(model)}

    def matched(self, patterns: Sequence[str], option: str, of: Iterable[int] | None = None) -> set[int]:
        """Return the ids of the parameters that have one of the names or match one of the patterns.

        Args:
            patterns: Names of parameters or of modules, or globs.
            option: The option in messages.
            of: The ids of what is prunable by default, to which globs and modules are limited. One that
                names nothing of it takes the matrices that it names, and a full name takes any parameter.

        Raises:
            UsageError: A pattern matches nothing.
        """
        limited = None if of is None else set(of)
        found: set[int] = set()
        for pattern in patterns:
            names = [name for name in self.all if _matches(name, pattern)]
            if not names:
                raise self._unknown(pattern, option)
            here = {id(self.all[name]) for name in names}
            if limited is not None:
                exact = {id(self.all[n]) for n in names if pattern in (n, bare_name(n))}
                matrices = {id(self.all[n]) for n in names if _is_matrix(self.all[n])}
                here = (here & limited | exact) or matrices
                if not here:
                    raise UsageError(
                        f"{option}={pattern!r} matches no matrix and nothing that is prunable by default; "
                        f"name the parameter in full, such as {names[0]!r}"
                    )
            found |= here
        return found

    def _unknown(self, pattern: str, option: str) -> UsageError:
        some = ", ".join([*list(self.all)[:4], *(["..."] if len(self.all) > 4 else [])])
        if set("*?[") & set(pattern):
            return UsageError(f"{option}={pattern!r} matches no parameter; the network has {some}")
        modules = {name.rpartition(".")[0] for name in self.all} - {""}
        way_out = f"name a parameter, a module or a glob; the network has {some}"
        return UnknownNameError(f"parameter in {option}:", pattern, {*self.all, *modules}, way_out)


def _matches(name: str, pattern: str) -> bool:
    """Return True if the pattern fits the name of a parameter, or of a module that has it."""
    for each in {name, bare_name(name)}:
        parts = each.split(".")
        if any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1)):
            return True
    return False


_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def bare_name(name: str) -> str:
    """Return the name of a parameter without the prefixes of torch's wrappers.

    Example:
        >>> bare_name("module._orig_mod.0.weight")
        '0.weight'
    """
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def use_dense_gradients(model: nn.Module) -> None:
    """Let embeddings have gradients that are no sparse tensors."""
    for module in model.modules():
        if isinstance(module, EMBEDDING):
            module.sparse = False


@torch.no_grad()
def drop_pruned(model: nn.Module) -> None:
    """Set weights to zero that `torch.nn.utils.prune` has removed, so that no score keeps them first."""
    for module in model.modules():
        for name, mask in module._buffers.items():
            original = module._parameters.get(f"{name.removesuffix('_mask')}_orig")
            if mask is not None and name.endswith("_mask") and original is not None:
                original.mul_(mask)
