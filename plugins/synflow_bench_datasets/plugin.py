"""Registration of the datasets; imports none of them."""

from __future__ import annotations

from synflow_bench import hookimpl


@hookimpl
def synflow_bench_datasets() -> dict[str, str]:
    """Return the name of each dataset and the reference to its class."""
    return {
        "digits": "synflow_bench_datasets.digits:Digits",
        "mnist": "synflow_bench_datasets.mnist:Mnist",
        "fashion-mnist": "synflow_bench_datasets.mnist:FashionMnist",
        "cifar10": "synflow_bench_datasets.cifar:Cifar10",
        "cifar100": "synflow_bench_datasets.cifar:Cifar100",
        "tiny-imagenet": "synflow_bench_datasets.tiny_imagenet:TinyImagenet",
        "imagenet": "synflow_bench_datasets.imagenet:Imagenet",
        "image-folder": "synflow_bench_datasets.image_folder:ImageFolder",
        "text": "synflow_bench_datasets.text:Text",
    }
