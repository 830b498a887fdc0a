"""Registration of the models; imports none of them."""

from __future__ import annotations

from collections.abc import Iterable

from synflow_bench import hookimpl

_VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11-bn", "vgg13-bn", "vgg16-bn", "vgg19-bn")
_LOTTERY_DEPTHS = (20, 32, 44, 56, 110, 1202)
_DEPTHS = (18, 34, 50, 101, 152)


@hookimpl
def synflow_bench_models() -> dict[str, str]:
    """Return the name of each model and the reference to its factory."""
    return {
        **_named("small", ["fc", "conv"]),
        **_named("vgg", [f"lottery/{vgg}" for vgg in _VGGS]),
        **_named("resnet", _resnets("lottery", _LOTTERY_DEPTHS, wide=_LOTTERY_DEPTHS)),
        **_named("vgg", [f"tinyimagenet/{vgg}" for vgg in _VGGS]),
        **_named("resnet", _resnets("tinyimagenet", _DEPTHS, wide=_DEPTHS)),
        **_named("imagenet", [f"imagenet/{vgg}" for vgg in _VGGS]),
        **_named("imagenet", _resnets("imagenet", _DEPTHS, wide=(50, 101))),
        **_named("wide_resnet", ["wrn-28-10", "wrn-16-8"]),
        **_named("efficient", ["mobilenet/v2", "convnext/tiny"]),
        **_named("transformer", ["vit/tiny", "gpt/char"]),
        **_named("mixer", ["mixer/tiny"]),
    }


def _resnets(family: str, depths: Iterable[int], wide: Iterable[int]) -> list[str]:
    return [*(f"{family}/resnet{depth}" for depth in depths), *(f"{family}/wide-resnet{d}" for d in wide)]


def _named(module: str, names: Iterable[str]) -> dict[str, str]:
    """Refer to each model by its name with underscores, such as `vgg:lottery_vgg16_bn`."""
    return {
        name: f"synflow_bench_models.{module}:{name.replace('/', '_').replace('-', '_')}" for name in names
    }
