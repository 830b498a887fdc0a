"""Registers the networks; imports none of them."""

from __future__ import annotations

from collections.abc import Iterable

from synflow_bench.host import hookimpl

_VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11-bn", "vgg13-bn", "vgg16-bn", "vgg19-bn")
_LOTTERY_DEPTHS = (20, 32, 44, 56, 110, 1202)
_DEPTHS = (18, 34, 50, 101, 152)


@hookimpl
def synflow_bench_models() -> dict[str, str]:
    """Names and where their factories are."""
    return {
        "fc": "synflow_bench_models.fc:fc",
        "conv": "synflow_bench_models.conv:conv",
        **_named("lottery", "lottery_vgg", _VGGS),
        **_named("lottery", "lottery_resnet", _resnets(_LOTTERY_DEPTHS, wide=_LOTTERY_DEPTHS)),
        **_named("tinyimagenet", "tinyimagenet_vgg", _VGGS),
        **_named("tinyimagenet", "tinyimagenet_resnet", _resnets(_DEPTHS, wide=_DEPTHS)),
        **_named("imagenet", "imagenet", [*_VGGS, *_resnets(_DEPTHS, wide=(50, 101))]),
    }


def _resnets(depths: Iterable[int], wide: Iterable[int]) -> list[str]:
    return [*(f"resnet{depth}" for depth in depths), *(f"wide-resnet{depth}" for depth in wide)]


def _named(family: str, module: str, names: Iterable[str]) -> dict[str, str]:
    return {f"{family}/{name}": f"synflow_bench_models.{module}:{name.replace('-', '_')}" for name in names}
