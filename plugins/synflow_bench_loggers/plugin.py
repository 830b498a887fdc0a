"""Registration of the loggers; imports none of them."""

from __future__ import annotations

from synflow_bench import hookimpl


@hookimpl
def synflow_bench_loggers() -> dict[str, str]:
    """Return the name of each logger and the reference to its class."""
    return {
        "csv": "synflow_bench_loggers.csv:CsvLogger",
        "tensorboard": "synflow_bench_loggers.tensorboard:TensorBoardLogger",
        "wandb": "synflow_bench_loggers.wandb:WandbLogger",
    }
