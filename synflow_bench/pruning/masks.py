"""Masks: the weights of a network that are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from synflow_bench.errors import PluginError, RecordError, UnknownNameError, UsageError, one_line
from synflow_bench.files import write_atomically
from synflow_bench.pruning.holding import Hold
from synflow_bench.pruning.prunable import bare_name
from synflow_bench.pruning.weight_norm import allow_removed_units
from synflow_bench.records.mask_files import is_packed, sha256_of_masks, unpack_masks


class Masks(Mapping[str, Tensor]):
    """An immutable mapping from parameter names to masks: bool tensors of the parameters' shapes.

    True keeps a weight, False removes it. Masks are equal when names, shapes and bits are, on any device.

    Args:
        masks: A mask per prunable parameter.
        left_out: The weights of the network that are not prunable; they are no part of what is compared.

    Attributes:
        left_out: The names of these weights.

    Raises:
        PluginError: There is no mask, or one is not a bool tensor.

    Example:
        >>> import torch
        >>> masks = Masks({"fc.weight": torch.tensor([[True, False], [False, False]])})
        >>> masks
        Masks(1 of 4 kept in 1 layers, compression 4)
        >>> masks.density, masks["fc.weight"].shape
        (0.25, torch.Size([2, 2]))
    """

    def __init__(self, masks: Mapping[str, Tensor], *, left_out: Iterable[str] = ()) -> None:
        if not masks:
            raise PluginError("masks of no parameter; name at least one")
        for name, mask in masks.items():
            if getattr(mask, "dtype", None) is not torch.bool:
                kind = getattr(mask, "dtype", f"a {type(mask).__name__}")
                raise PluginError(f"mask {name!r} is {kind}; masks are tensors of torch.bool")
        self.left_out = tuple(left_out)
        self._masks = MappingProxyType(dict(masks))

    @classmethod
    def ones(cls, parameters: Mapping[str, Tensor]) -> Self:
        """Make masks that keep every entry of `parameters`."""
        return cls({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.bool_]]) -> Self:
        """Make masks from arrays of numpy."""
        return cls({name: torch.from_numpy(array) for name, array in arrays.items()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read masks that `save` wrote, or those that a run has kept beside its records.

        Raises:
            RecordError: The file is not there, or holds something else.
        """
        try:
            if is_packed(data := Path(path).read_bytes()):
                return cls.of_arrays(unpack_masks(data))
            with safe_open(str(path), "pt") as file:
                left_out = json.loads((file.metadata() or {}).get("left_out", "[]"))
                return cls({name: file.get_tensor(name) for name in file.keys()}, left_out=left_out)  # noqa: SIM118
        except FileNotFoundError as error:
            raise RecordError(f"{str(path)!r} is not there; give a file of Masks.save") from error
        except Exception as error:  # the library raises errors of its own and of many kinds
            reason = one_line(error, with_type=False, first_line=True)
            raise RecordError(f"{str(path)!r} holds no masks: {reason}; give a file of Masks.save") from error

    def save(self, path: str | Path) -> None:
        """Write the masks as a safetensors file: the whole file or nothing.

        Raises:
            RecordError: The file cannot be written.
        """
        metadata = {"left_out": json.dumps(self.left_out)} if self.left_out else None
        tensors = {name: mask.contiguous().cpu() for name, mask in self.items()}
        write_atomically(Path(path), save(tensors, metadata))

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), left_out=self.left_out), (dict(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masks) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        kept = f"{self.kept} of {self.size} kept in {len(self)} layers"
        return f"Masks({kept}, compression {self.compression:.4g})"

    @cached_property
    def size(self) -> int:
        """The number of prunable weights."""
        return sum(mask.numel() for mask in self.values())

    @cached_property
    def layer_kept(self) -> Mapping[str, int]:
        """The number of kept weights per layer."""
        # numpy counts five times as fast as torch does.
        return MappingProxyType(
            {
                name: int(np.count_nonzero(m.numpy()) if m.device.type == "cpu" else m.count_nonzero())
                for name, m in self.items()
            }
        )

    @cached_property
    def kept(self) -> int:
        """The number of kept weights."""
        return sum(self.layer_kept.values())

    @property
    def density(self) -> float:
        """Kept over prunable weights."""
        return self.kept / self.size

    @property
    def compression(self) -> float:
        """The compression ratio: prunable over kept weights; infinite when nothing is kept."""
        return self.size / self.kept if self.kept else float("inf")

    @property
    def layer_density(self) -> Mapping[str, float]:
        """Kept over prunable weights per layer."""
        return {name: kept / self[name].numel() for name, kept in self.layer_kept.items()}

    @cached_property
    def sha256(self) -> str:
        """A hash of names, shapes and bits, the same on every device."""
        return sha256_of_masks({name: mask.cpu().numpy() for name, mask in self.items()})

    def check(self, parameters: Mapping[str, Tensor]) -> Self:
        """Return the masks if they fit `parameters`.

        Raises:
            PluginError: Names or shapes differ, or a mask has no values; the message names the parameter.
        """
        for name in self.keys() ^ parameters.keys():
            problem = "no mask for" if name in parameters else "a mask for unknown"
            raise PluginError(f"{problem} parameter {name!r}")
        for name, parameter in parameters.items():
            if self[name].shape != parameter.shape:
                shape, expected = tuple(self[name].shape), tuple(parameter.shape)
                raise PluginError(f"mask {name!r} has shape {shape}, its parameter {expected}")
            if self[name].is_meta and not parameter.is_meta:
                raise PluginError(f"mask {name!r} is on the device 'meta', where tensors have no values")
        return self

    def to(self, device: torch.device | str) -> Masks:
        """Return the same masks on another device."""
        moved = {name: mask.to(device) for name, mask in self.items()}
        return Masks(moved, left_out=self.left_out)

    @torch.no_grad()
    def apply_(self, model: nn.Module | Mapping[str, Tensor]) -> None:
        """Set the weights that are not kept to zero, in place.

        Training makes them nonzero again; `hold` keeps them zero. A unit with weight norm that loses all of
        its weights becomes zero, where torch would divide zero by zero.

        Args:
            model: A network, or parameters by name. Names may differ by the prefixes that torch adds when it
                compiles or distributes a network.

        Raises:
            UsageError: The network has no parameter of this name and shape.
        """
        if isinstance(model, nn.Module):
            allow_removed_units(model)
        for name, parameter in self.parameters_of(model).items():
            removed = self[name].to(parameter.device).logical_not()
            parameter.detach().masked_fill_(removed, 0)

    def hold(self, model: nn.Module) -> Hold:
        """Set the weights that are not kept to zero, and keep them zero through training.

        Their gradients are zero too, under every optimizer of torch and every class that derives from
        `torch.optim.Optimizer`, with momentum and weight decay, for networks that are compiled or wrapped
        later as well.

        Args:
            model: A network, as for `apply_`.

        Returns:
            A handle with `release()`, which is also a context manager that releases at its end.

        Raises:
            UsageError: The network has no parameter of this name and shape, or is a ScriptModule. Later, a
                step of an optimizer raises it if a layer has lost its parameter, for example to weight norm.

        Example:
            >>> import torch
            >>> model = torch.nn.Linear(2, 1, bias=False)
            >>> masks = Masks({"weight": torch.tensor([[True, False]])})
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            >>> with masks.hold(model):
            ...     for _ in range(3):
            ...         optimizer.zero_grad()
            ...         model(torch.ones(1, 2)).sum().backward()
            ...         optimizer.step()
            >>> model.weight[0, 1].item()
            0.0
        """
        if not isinstance(model, nn.Module):
            raise UsageError(
                f"masks hold a network, not {_called(model)}; apply_ takes parameters by name too"
            )
        allow_removed_units(model)
        return Hold(model, {name: (p, self[name]) for name, p in self.parameters_of(model).items()})

    def parameters_of(self, model: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters of `model` that the masks cover, by the names of the masks.

        Raises:
            UsageError: It has no parameter of this name and shape, or is neither a network nor a mapping.
        """
        tensors: dict[str, Tensor]
        if isinstance(model, nn.Module):
            called, tensors = type(model).__name__, dict(model.named_parameters(remove_duplicate=False))
        elif isinstance(model, Mapping):
            called, tensors = "the mapping", dict(model)
        else:
            raise UsageError(f"masks fit a network or parameters by name, not {_called(model)}")
        bare = {bare_name(name): tensor for name, tensor in tensors.items()}
        found = {}
        for name, mask in self.items():
            parameter = tensors.get(name, bare.get(bare_name(name)))
            if parameter is None and not any(each in tensors or bare_name(each) in bare for each in self):
                raise UsageError(
                    f"{called} has no parameter {name!r}, nor any other of these masks; they are those of "
                    "another network"
                )
            if parameter is None:
                raise UnknownNameError(
                    f"parameter of the masks in {called}:",
                    name,
                    tensors,
                    "these are masks of another network",
                )
            if not isinstance(parameter, Tensor):
                raise UsageError(f"parameter {name!r} in {called} is {_called(parameter)}, not a tensor")
            if parameter.shape != mask.shape:
                shape, expected = tuple(mask.shape), tuple(parameter.shape)
                raise UsageError(
                    f"mask {name!r} has shape {shape}, its parameter in {called} {expected}; "
                    "give the network that was pruned"
                )
            found[name] = parameter
        return found


def _called(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__!r}"
