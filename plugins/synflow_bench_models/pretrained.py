"""Weights that torchvision publishes."""

from __future__ import annotations

import pickle
import sys
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from synflow_bench.errors import ModelError

COLOURS, CLASSES = 3, 1000


def pretrained_network(builder: str, name: str, channels: int, num_classes: int) -> nn.Module:
    """torchvision's `builder` with its weights `IMAGENET1K_V1`, from the folder of `torch.hub`.

    They are downloaded if they are not there; nothing but tensors is unpickled. On the meta device, which has
    no values, none are loaded. Raises `ModelError` where they do not fit, cannot be had or are damaged.
    """
    if (channels, num_classes) != (COLOURS, CLASSES):
        raise ModelError(
            f"{name} has pretrained weights for {COLOURS} channels and {CLASSES} classes, not for {channels} "
            f"and {num_classes}; leave out `pretrained`"
        )
    model: nn.Module = get_model(builder, weights=None)
    if next(model.parameters()).is_meta:
        return model
    weights = get_model_weights(builder)["IMAGENET1K_V1"]
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(weights.url).path).name)
    try:
        with redirect_stdout(sys.stderr):  # torch announces a download where only results belong
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        model.load_state_dict(state)
    except (OSError, HTTPException) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"could not download the weights of {name}: {cause}; fetch {weights.url} to {path}"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelError(
            f"{path} has no weights of {name}; delete it, and they are downloaded again"
        ) from error
    return model
