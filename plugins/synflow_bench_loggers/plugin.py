"""What this package provides."""

from __future__ import annotations

from synflow_bench import hookimpl


@hookimpl
def synflow_bench_loggers() -> dict[str, str]:
    """Three ways to watch a run."""
    return {
        "csv": "synflow_bench_loggers.csv_logger:CsvLogger",
        "tensorboard": "synflow_bench_loggers.tensorboard_logger:TensorBoardLogger",
        "wandb": "synflow_bench_loggers.wandb_logger:WandbLogger",
    }
