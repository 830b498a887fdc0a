"""Which device to compute on."""

from __future__ import annotations

import torch

from synflow_bench.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """`auto` is the best device at hand (cuda, then mps, then cpu); other names are taken as they are.

    Raises `DeviceError` for a name that torch does not know or a device that this machine does not have.
    """
    if name == "auto":
        return torch.device(next(kind for kind, count in available().items() if count))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps") from None
    count = available().get(device.type, 0)
    if (device.index or 0) >= count:
        present = ", ".join(kind for kind, count in available().items() if count)
        raise DeviceError(f"device {name!r} is not on this machine; it has {present}")
    return device


def resolve_devices(name: str) -> list[torch.device]:
    """The devices that workers share: all GPUs for `auto` and `cuda`, the one device otherwise."""
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None:
        return [torch.device("cuda", index) for index in range(available()["cuda"])]
    return [device]


def available() -> dict[str, int]:
    """How many devices of each kind there are, best kind first."""
    return {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}


def describe(device: torch.device) -> str:
    """The device as a reader of a record would name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type
