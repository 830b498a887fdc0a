"""Registers the data sets; imports none of them."""

from __future__ import annotations

from synflow_bench.host import hookimpl


@hookimpl
def synflow_bench_datasets() -> dict[str, str]:
    """Names and where their classes are."""
    return {
        "digits": "synflow_bench_datasets.digits:Digits",
        "mnist": "synflow_bench_datasets.mnist:Mnist",
        "fashion-mnist": "synflow_bench_datasets.mnist:FashionMnist",
        "cifar10": "synflow_bench_datasets.cifar:Cifar10",
        "cifar100": "synflow_bench_datasets.cifar:Cifar100",
        "tiny-imagenet": "synflow_bench_datasets.tiny_imagenet:TinyImagenet",
        "imagenet": "synflow_bench_datasets.imagenet:Imagenet",
    }
