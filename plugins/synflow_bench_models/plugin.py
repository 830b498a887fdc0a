"""Registers the networks; imports none of them."""

from __future__ import annotations

from synflow_bench.host import hookimpl

_VGG_DEPTHS = (11, 13, 16, 19)
_RESNET_DEPTHS = (20, 32, 44, 56, 110, 1202)


@hookimpl
def synflow_bench_models() -> dict[str, str]:
    """Names and where their factories are."""
    return {
        "fc": "synflow_bench_models.fc:fc",
        "conv": "synflow_bench_models.conv:conv",
        **{f"lottery/vgg{n}": f"synflow_bench_models.lottery_vgg:vgg{n}" for n in _VGG_DEPTHS},
        **{f"lottery/vgg{n}-bn": f"synflow_bench_models.lottery_vgg:vgg{n}_bn" for n in _VGG_DEPTHS},
        **{f"lottery/resnet{n}": f"synflow_bench_models.lottery_resnet:resnet{n}" for n in _RESNET_DEPTHS},
        **{
            f"lottery/wide-resnet{n}": f"synflow_bench_models.lottery_resnet:wide_resnet{n}"
            for n in _RESNET_DEPTHS
        },
    }
