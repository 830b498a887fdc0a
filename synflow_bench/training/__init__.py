"""Training: data on the device, the loop, evaluation. Knows no pruning."""

from synflow_bench.training.batched import BatchedNetwork, BatchedStep
from synflow_bench.training.data import (
    LoadedData,
    LoadedSplit,
    Normalization,
    ResidentSplit,
    balanced_examples,
)
from synflow_bench.training.device import (
    describe,
    keep_freed_memory,
    main_module_hidden,
    process_restored,
    resolve_device,
    resolve_devices,
    set_up_process,
    thread_environment,
    usable_cores,
)
from synflow_bench.training.loop import (
    MAX_BATCHED,
    Checkpoint,
    OnEpoch,
    Streams,
    Trained,
    Training,
    TrainingData,
    can_batch,
    is_batched,
    steps_per_epoch,
    train,
    train_batch,
)
from synflow_bench.training.step import Batch, MaskedWeights, Precision, TrainingStep, build_optimizer
from synflow_bench.training.streamed import DATA_WORKERS_VARIABLE

__all__ = [
    "DATA_WORKERS_VARIABLE",
    "MAX_BATCHED",
    "Batch",
    "BatchedNetwork",
    "BatchedStep",
    "Checkpoint",
    "LoadedData",
    "LoadedSplit",
    "MaskedWeights",
    "Normalization",
    "OnEpoch",
    "Precision",
    "ResidentSplit",
    "Streams",
    "Trained",
    "Training",
    "TrainingData",
    "TrainingStep",
    "balanced_examples",
    "build_optimizer",
    "can_batch",
    "describe",
    "is_batched",
    "keep_freed_memory",
    "main_module_hidden",
    "process_restored",
    "resolve_device",
    "resolve_devices",
    "set_up_process",
    "steps_per_epoch",
    "thread_environment",
    "train",
    "train_batch",
    "usable_cores",
]
