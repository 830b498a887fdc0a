"""The scores: zero-cost proxies for comparing architectures at initialization, without training.

The proxies are those that Abdelfattah, Mehrotra, Dudziak, Lane, "Zero-Cost Proxies for Lightweight NAS",
2021, arXiv 2101.08134, compare, with those of Mellor, Turner, Storkey, Crowley, "Neural Architecture Search
without Training", 2021, arXiv 2006.04647.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import log10, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from synflow_bench.errors import HandledError
from synflow_bench.graph import call_with, plain_attention
from synflow_bench.metrics import count_macs, uses_of_weights
from synflow_bench.pruning import prunable_parameters
from synflow_bench.pruning.rounds import differentiable_twice
from synflow_bench.scores.wide_range import WideTensor, log2_of_sum
from synflow_bench.suites import PruningOptions

SMOOTHING = 1e-5
"""The k of the Jacobian covariance, which keeps the score finite where an eigenvalue is zero."""


NOT_FINITE = "it is not finite"
"""The reason where a network has, or computes, infinite values or NaN."""


class NoScoreError(HandledError):
    """A score that is not defined for a network; the message says why."""


@dataclass(frozen=True)
class ScoredNetwork:
    """A network at initialization, and the examples on which it is scored.

    Attributes:
        model: A copy of the network. Batch norm uses the statistics of the batch, as in the first step of a
            training; dropout and the like are off.
        input_shape: The shape of one example.
        inputs: Inputs (N, ...) of the network.
        labels: Labels (N,) int64.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    inputs: Tensor
    labels: Tensor
    _cache: dict[str, list[Tensor]] = field(default_factory=dict, repr=False)

    @cached_property
    def weights(self) -> list[Tensor]:
        """The prunable weights: matrices of linear, convolutional, attention and recurrent layers."""
        return list(prunable_parameters(self.model, PruningOptions()).values())

    def loss(self) -> Tensor:
        """Return the mean cross entropy over the examples."""
        logits = self.model(self.inputs)
        return cross_entropy(logits, self.labels)

    def gradients(self) -> list[Tensor]:
        """Return dL/dw of the prunable weights; computed once."""
        if "gradients" not in self._cache:
            self._cache["gradients"] = list(
                torch.autograd.grad(self.loss(), self.weights, materialize_grads=True)
            )
        return self._cache["gradients"]


def synflow(subject: ScoredNetwork) -> float:
    """Return log10 of the total synaptic flow R, the sum of the outputs for one input of ones.

    All parameters and buffers are replaced by their absolute values, and batch norm is in evaluation mode.
    Tanaka, Kunin, Yamins, Ganguli, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", 2020, arXiv 2006.05467. Without biases, the saliencies |w dR/dw| of every layer sum to R,
    so that the sum over a network of L layers, the proxy of Abdelfattah et al. 2021, is L R. R is computed in
    float64 with an exponent per tensor and cannot overflow.
    """
    state = {**dict(subject.model.named_parameters()), **dict(subject.model.named_buffers())}
    absolute = {
        name: tensor.detach().abs().double() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    example = subject.inputs[:1]
    tokens = not example.is_floating_point()
    inputs = example if tokens else WideTensor.of(torch.ones_like(example, dtype=torch.float64))
    with (
        torch.no_grad(),
        _evaluating(subject.model),
        plain_attention(),
        _ones_of_tokens(subject, tokens),
    ):
        total = log2_of_sum(call_with(subject.model, absolute, inputs))
    if total != total:
        raise NoScoreError(NOT_FINITE)
    if abs(total) == float("inf"):
        raise NoScoreError(
            "its flow is not a positive number, as behind normalization over features or softmax"
        )
    return total * log10(2)


def snip(subject: ScoredNetwork) -> float:
    """Return the sum of |w dL/dw| over all prunable weights.

    Lee, Ajanthan, Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2019, arXiv
    1810.02340; as a score of networks in Abdelfattah et al. 2021.
    """
    pairs = zip(subject.weights, subject.gradients(), strict=True)
    return sum(float((w.detach() * g).double().abs().sum()) for w, g in pairs)


def grasp(subject: ScoredNetwork) -> float:
    """Return the sum of -w (H g) over all prunable weights, with g = dL/dw and the Hessian H of L.

    Wang, Zhang, Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", 2020, arXiv
    2002.07376; as a score of networks in Abdelfattah et al. 2021.
    """
    with differentiable_twice(subject.model):
        gradients = torch.autograd.grad(
            subject.loss(), subject.weights, create_graph=True, materialize_grads=True
        )
        product = torch.stack([(g.detach() * g).sum() for g in gradients]).sum()
        products = torch.autograd.grad(product, subject.weights, materialize_grads=True)
    pairs = zip(subject.weights, products, strict=True)
    return -sum(float((w.detach() * p).double().sum()) for w, p in pairs)


def gradient_norm(subject: ScoredNetwork) -> float:
    """Return the Euclidean norm of dL/dw over all prunable weights (Abdelfattah et al. 2021)."""
    return sqrt(sum(float(g.double().square().sum()) for g in subject.gradients()))


def jacobian_covariance(subject: ScoredNetwork) -> float:
    """Return -sum over i of log(v_i + k) + 1 / (v_i + k), with k = 1e-5.

    v are the eigenvalues of the correlation matrix, over examples, of the rows of J: row n is the gradient of
    the sum of the outputs by input n. Mellor et al., first version of arXiv 2006.04647, 2020; `jacob_cov` in
    Abdelfattah et al. 2021. It is largest where the examples are least correlated.
    """
    if not subject.inputs.is_floating_point():
        raise NoScoreError("token ids have no gradient")
    inputs = subject.inputs.detach().clone().requires_grad_()
    (rows,) = torch.autograd.grad(subject.model(inputs).sum(), [inputs], materialize_grads=True)
    rows = rows.flatten(1).double()
    if not bool(rows.isfinite().all()):
        raise NoScoreError(NOT_FINITE)
    centered = rows - rows.mean(1, keepdim=True)
    norms = centered.norm(dim=1, keepdim=True)
    if len(rows) < 2 or not bool((norms > 0).all()):
        raise NoScoreError("the gradient by an input is constant")
    unit = centered / norms
    values = torch.linalg.eigvalsh(unit @ unit.T) + SMOOTHING
    return -float((values.log() + 1 / values).sum())


def naswot(subject: ScoredNetwork) -> float:
    """Return log |det K|, where K_ij is the number of rectifiers that agree on the examples i and j.

    A rectifier (ReLU, ReLU6, leaky ReLU, PReLU) agrees if it is active for both or for neither: K = N - d,
    with N rectifiers and the Hamming distance d between the binary codes. Mellor et al. 2021, arXiv
    2006.04647.
    """
    codes = _Codes(len(subject.inputs))
    with torch.no_grad(), codes:
        logits = subject.model(subject.inputs)
    if codes.has_nan or bool(logits.isnan().any()):
        raise NoScoreError(NOT_FINITE)
    if not codes.found:
        raise NoScoreError("it has no rectifiers")
    sign, value = torch.linalg.slogdet(codes.kernel)
    if not float(sign) or not bool(value.isfinite()):
        raise NoScoreError("two examples have the same code")
    return float(value)


def parameters(subject: ScoredNetwork) -> float:
    """Return the number of parameters, those of biases and norms included."""
    return float(sum(parameter.numel() for parameter in subject.model.parameters()))


def macs(subject: ScoredNetwork) -> float:
    """Return the multiply-accumulates of one example in linear, convolutional and other weight layers."""
    with _evaluating(subject.model):
        uses, _ = uses_of_weights(subject.model, subject.inputs[:1])
    return float(count_macs(subject.model, uses, {}))


METHODS: Mapping[str, Callable[[ScoredNetwork], float]] = {
    "synflow": synflow,
    "snip": snip,
    "grasp": grasp,
    "gradient-norm": gradient_norm,
    "jacobian-covariance": jacobian_covariance,
    "naswot": naswot,
    "parameters": parameters,
    "macs": macs,
}
"""The scores by name; for all of them but `grasp`, higher is meant to be better."""


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put batch norm into evaluation mode, where all else is already."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for module in norms:
        module.eval()
    try:
        yield
    finally:
        for module in norms:
            module.train()


@contextmanager
def _ones_of_tokens(subject: ScoredNetwork, tokens: bool) -> Iterator[None]:
    """Let embeddings give ones: token ids cannot be ones."""

    def ones(_module: nn.Module, _inputs: Any, output: Tensor) -> WideTensor:
        return WideTensor.of(torch.ones_like(output, dtype=torch.float64))

    handles = [
        module.register_forward_hook(ones)
        for module in subject.model.modules()
        if tokens and isinstance(module, nn.Embedding)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_RECTIFIERS = frozenset({"relu", "hardtanh", "leaky_relu", "_prelu_kernel"})


class _Codes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the kernel of NASWOT over all rectifiers that a network calls."""

    def __init__(self, examples: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernel = torch.zeros(examples, examples, dtype=torch.float64)
        self.found = 0
        self.has_nan = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note which inputs of a rectifier are positive."""
        name = func._schema.name.removeprefix("aten::")
        if name.removesuffix("_") in _RECTIFIERS:
            self.has_nan |= bool(args[0].isnan().any())
            active = (args[0] > 0).flatten(1).double()
            if len(active) == len(self.kernel):
                agree = active @ active.T + (1 - active) @ (1 - active).T
                self.kernel += agree.cpu()
                self.found += active.shape[1]
        return func(*args, **(kwargs or {}))
