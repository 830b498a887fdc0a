"""Training: data on the device, the loop, evaluation. Knows no pruning."""

from synflow_bench.training.checkpoint import Checkpoint
from synflow_bench.training.data import LoadedData, LoadedSplit, balanced_examples
from synflow_bench.training.device import describe, resolve_device, resolve_devices
from synflow_bench.training.loop import Examples, OnEpoch, Streams, Trained, Training, steps_per_epoch
from synflow_bench.training.process import set_up_process, thread_environment
from synflow_bench.training.together import MOST_TOGETHER, can_share, is_stacked, train, train_together

__all__ = [
    "MOST_TOGETHER",
    "Checkpoint",
    "Examples",
    "LoadedData",
    "LoadedSplit",
    "OnEpoch",
    "Streams",
    "Trained",
    "Training",
    "balanced_examples",
    "can_share",
    "describe",
    "is_stacked",
    "resolve_device",
    "resolve_devices",
    "set_up_process",
    "steps_per_epoch",
    "thread_environment",
    "train",
    "train_together",
]
