"""The baseline: pruning and training as most research code writes them.

A torchvision dataset, a DataLoader, masks multiplied in every forward pass, every score sorted, `.item()` in
every step. `python benchmarks/conventional.py ROOT fc` (or `conv`) prunes and trains one Fashion-MNIST cell
and prints the test accuracy and the seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

TEMPERATURE = 200
"""The temperature of GraSP."""


def synflow_masks(
    model: nn.Module, names: list[str], input_shape: tuple[int, ...], compression: float, rounds: int
) -> dict[str, Tensor]:
    """|w| dR/d|w| in each round, the largest of all kept (Tanaka et al. 2020, arXiv 2006.05467)."""
    parameters = dict(model.named_parameters())
    ones = torch.ones(1, *input_shape, device=next(model.parameters()).device)
    masks = {name: torch.ones_like(parameters[name]) for name in names}
    model.eval()
    for step in range(1, rounds + 1):
        absolute = {name: p.detach().abs() for name, p in parameters.items()}
        absolute |= {name: (absolute[name] * masks[name]).requires_grad_() for name in names}
        output = functional_call(model, absolute, (ones,))
        gradients = torch.autograd.grad(output.sum(), [absolute[name] for name in names])
        scores = {n: (absolute[n] * g).detach() for n, g in zip(names, gradients, strict=True)}
        flat = torch.cat([score.flatten() for score in scores.values()])
        kept = round(len(flat) * compression ** (-step / rounds))
        threshold = flat.kthvalue(len(flat) - kept + 1).values
        masks = {name: (score >= threshold).float() for name, score in scores.items()}
    return masks


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
    """Sort all scores and keep those above a threshold."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    kept = max(1, round(len(flat) / compression))
    threshold = torch.sort(flat, descending=True).values[kept - 1]
    return {name: (score >= threshold).float() for name, score in scores.items()}


def network() -> nn.Sequential:
    """Five hidden layers of 100 units."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (784, 100, 100, 100, 100):
        layers += [nn.Linear(inputs, 100), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(100, 10))


def small_convolutions() -> nn.Sequential:
    """Two convolutions of 32 channels."""
    layers = (nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 28 * 28, 10))


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images (N, C, H, W) uint8 that become pictures and then tensors one by one, as torchvision's do."""

    def __init__(self, images: Tensor, labels: Tensor, change: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.labels, self.change = images, labels, change

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array = self.images[index].permute(1, 2, 0).squeeze(2).numpy()
        return self.change(Image.fromarray(array)), int(self.labels[index])


def transform(mean: tuple[float, ...], std: tuple[float, ...], side: int | None = None) -> transforms.Compose:
    """Normalize; with `side`, first crop at random after padding by 4, and flip half of the images."""
    changes = [] if side is None else [transforms.RandomCrop(side, 4), transforms.RandomHorizontalFlip()]
    return transforms.Compose([*changes, transforms.ToTensor(), transforms.Normalize(mean, std)])


def loaders(root: Path) -> Iterator[DataLoader[tuple[Tensor, Tensor]]]:
    """Training batches of 64 and test batches of 256."""
    change = transform((0.286,), (0.353,))
    for train in (True, False):
        data = FashionMNIST(str(root), train=train, transform=change)
        yield DataLoader(data, batch_size=64 if train else 256, shuffle=train)


def masked_forward(model: nn.Module, masks: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Call the network with every masked weight multiplied by its mask."""
    weights = {name: p * masks[name] if name in masks else p for name, p in model.named_parameters()}
    output: Tensor = functional_call(model, weights, (inputs,))
    return output


def train_epoch(
    model: nn.Module,
    masks: dict[str, Tensor],
    batches: DataLoader[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
) -> float:
    """Train one epoch on the device of the model, and return the sum of the losses."""
    device, total = next(model.parameters()).device, 0.0
    model.train()
    for inputs, labels in batches:
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = cross_entropy(masked_forward(model, masks, inputs), labels)
        total += loss.item() * len(labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return total


def accuracy_of(
    model: nn.Module, masks: dict[str, Tensor], batches: DataLoader[tuple[Tensor, Tensor]]
) -> float:
    """Return the share of examples that the network classifies as labeled."""
    device, correct, seen = next(model.parameters()).device, 0, 0
    model.eval()
    with torch.no_grad():
        for inputs, labels in batches:
            found = masked_forward(model, masks, inputs.to(device)).argmax(1)
            correct += int((found == labels.to(device)).sum().item())
            seen += len(labels)
    return correct / seen


def run_cell(root: Path, model: nn.Module) -> float:
    """Prune to compression 10 in 100 rounds, train one epoch with Adam, return the test accuracy."""
    training, test = loaders(root)
    names = [name for name, _ in model.named_parameters() if name.endswith("weight")]
    masks = synflow_masks(model, names, (1, 28, 28), 10, 100)
    train_epoch(model, masks, training, torch.optim.Adam(model.parameters(), lr=1e-3))
    return accuracy_of(model, masks, test)


if __name__ == "__main__":
    started = time.perf_counter()
    accuracy = run_cell(Path(sys.argv[1]), {"fc": network, "conv": small_convolutions}[sys.argv[2]]())
    print(f"{accuracy:.4f} {time.perf_counter() - started:.2f}")
