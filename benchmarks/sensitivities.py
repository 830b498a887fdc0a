"""SNIP and GraSP as their formulas read, on the device of the network: what ours are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

TEMPERATURE = 200


def snip_masks(
    model: nn.Module, names: list[str], inputs: Tensor, labels: Tensor, compression: float
) -> dict[str, Tensor]:
    """|w dL/dw|, by ones multiplied into the weights (Lee et al. 2018, arXiv 1810.02340)."""
    weights = {name: p.detach() for name, p in model.named_parameters()}
    ones = {name: torch.ones_like(weights[name]).requires_grad_() for name in names}
    masked = {**weights, **{name: weights[name] * one for name, one in ones.items()}}
    loss = cross_entropy(functional_call(model, masked, (inputs,)), labels)
    gradients = torch.autograd.grad(loss, list(ones.values()))
    return _largest(dict(zip(names, [g.abs() for g in gradients], strict=True)), compression)


def grasp_masks(
    model: nn.Module, names: list[str], inputs: Tensor, labels: Tensor, compression: float
) -> dict[str, Tensor]:
    """w H g, with the graph of the gradient kept (Wang et al. 2020, arXiv 2002.07376)."""
    weights = [model.get_parameter(name) for name in names]

    def gradients(graph: bool) -> tuple[Tensor, ...]:
        loss = cross_entropy(model(inputs) / TEMPERATURE, labels)
        return torch.autograd.grad(loss, weights, create_graph=graph)

    stopped = gradients(graph=False)
    product = sum((g * s).sum() for g, s in zip(gradients(graph=True), stopped, strict=True))
    hessian = torch.autograd.grad(torch.as_tensor(product), weights)
    scores = {n: (w * h).detach() for n, w, h in zip(names, weights, hessian, strict=True)}
    return _largest(scores, compression)


def _largest(scores: dict[str, Tensor], compression: float) -> dict[str, Tensor]:
    """Every score sorted, and those above a threshold kept."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    kept = max(1, round(len(flat) / compression))
    threshold = torch.sort(flat, descending=True).values[kept - 1]
    return {name: (score >= threshold).float() for name, score in scores.items()}
