"""The definition of every number that only the page of one record has."""

from __future__ import annotations

OF_A_RECORD = {
    "test top-1": "The share of the test set that is classified rightly after the final epoch.",
    "test top-5": (
        "The share of the test set whose class is among the network's first five answers, after the final "
        "epoch."
    ),
    "test loss": "The mean cross-entropy on the test set, in nats.",
    "training loss": (
        "The mean cross-entropy over the batches of an epoch, in nats; with label smoothing where the recipe "
        "has it."
    ),
    "validation top-1": "The share of the held-out part of the training set that is classified rightly.",
    "best epoch": (
        "The highest test top-1 of any epoch, chosen on the test set: only to compare with publications that "
        "report it."
    ),
    "untrained": "Test top-1 after pruning and before any training.",
    "density": "Kept weights over prunable weights, of the network or of one layer.",
    "kept": "Weights that the mask keeps, of all weights of the layer.",
    "over all parameters": (
        "All parameters over those that are left, where those that cannot be pruned count in both."
    ),
    "on a path": "Kept weights that lie on a path of kept weights from input to output.",
    "MACs": (
        "Multiply-accumulates of the layer's dense form in one forward pass of one example. What masks would "
        "save of them is the speedup."
    ),
    "train s": "Wall-clock seconds of training and evaluation on the machine that the record names.",
    "total s": (
        "Wall-clock seconds of the whole cell, pruning, training and evaluation among them, on the machine "
        "that the record names."
    ),
}
"""Term -> its definition."""
