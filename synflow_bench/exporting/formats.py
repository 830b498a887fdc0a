"""The formats of exported networks: ONNX, `torch.export` and tensors, each written and read again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn

from synflow_bench.errors import HandledError, ModelError, UsageError, one_line

Format = Literal["onnx", "pt2", "state-dict"]
FORMATS: tuple[Format, ...] = get_args(Format)

Run = Callable[[Tensor], Tensor]
"""A function from inputs (N, ...) to logits (N, K)."""


class ExportError(HandledError):
    """A network that a format cannot hold."""


def check_format(format: str) -> None:
    """Check that a network can be exported in this format here.

    Raises:
        UsageError: There is no such format, or what it needs is not installed.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; it is one of {', '.join(FORMATS)}")
    if format == "onnx":
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise UsageError(
                f"format 'onnx' needs {', '.join(missing)}; `pip install 'synflow-bench[onnx]'` installs all"
            )


FIRST_OPSET = 18
"""The opset that torch's exporter writes; older ones are made of it, which few networks allow."""


def check_opset(opset: Any, format: str) -> None:
    """Check that an opset can be asked for.

    Raises:
        UsageError: The format has none, or ONNX has no such one.
    """
    if format != "onnx":
        raise UsageError(f"format {format!r} has no opset; leave it out")
    if isinstance(opset, bool) or not isinstance(opset, int) or not 1 <= opset <= _last_opset():
        raise UsageError(
            f"opset {opset!r} is none of the installed onnx; take one from {FIRST_OPSET} to {_last_opset()}, "
            "or leave it out"
        )


def _last_opset() -> int:
    import onnx

    return int(onnx.defs.onnx_opset_version())


@torch.no_grad()
def run_network(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits of a network.

    Raises:
        ModelError: It cannot take the inputs, or returns something else.
    """
    try:
        logits = model(inputs)
    except Exception as error:  # a network may fail in any way
        shape = "x".join(map(str, inputs.shape[1:]))
        reason = one_line(error, with_type=False, first_line=True)
        raise ModelError(f"the network cannot take an input of {shape}: {reason}") from error
    if not isinstance(logits, Tensor):
        raise ModelError(f"the network returns a {type(logits).__name__}, not a tensor of logits")
    return logits


def _program(model: nn.Module, inputs: Tensor) -> torch.export.ExportedProgram:
    """Export for batches of any size."""
    batch = torch.export.Dim("batch", min=1)
    # A batch of one is taken for a constant.
    example = inputs[:2] if len(inputs) > 1 else torch.cat([inputs, inputs])
    with torch.no_grad():
        return torch.export.export(model, (example,), dynamic_shapes=({0: batch},))


def _write_pt2(model: nn.Module, path: Path, inputs: Tensor, _opset: int | None) -> Run:
    with one_line_errors("pt2"):
        program = _program(model, inputs)
        with path.open("wb") as file:
            torch.export.save(program, file)
        with path.open("rb") as file:
            loaded = torch.export.load(file).module()
    return partial(run_network, loaded)


def write_onnx(model: nn.Module, path: Path, inputs: Tensor, opset: int | None) -> Run:
    """Write an ONNX file, and return a function that runs it.

    Raises:
        ExportError: The format, or the opset, cannot hold the network.
    """
    with one_line_errors("onnx"):
        found = torch.onnx.export(
            _program(model, inputs),
            dynamo=True,
            opset_version=opset,
            input_names=["input"],
            output_names=["logits"],
            verbose=False,
        )
        if found is None:
            raise ExportError("torch exports nothing")
        if opset is not None and found.model.opset_imports.get("", opset) != opset:
            raise ExportError(
                f"opset {opset} cannot hold this network; take one from {FIRST_OPSET} to {_last_opset()}, or "
                "leave it out"
            )
        found.save(path, external_data=False)
        return onnx_run(path.read_bytes())


def onnx_run(content: bytes) -> Run:
    """Return a function that runs an ONNX model on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])

    return run


WRITERS: Mapping[str, Callable[[nn.Module, Path, Tensor, int | None], Run]] = {
    "onnx": write_onnx,
    "pt2": _write_pt2,
}
"""The function that writes the code and the tensors of a network in evaluation mode to a file, and reads it
again, by format."""


@contextmanager
def one_line_errors(format: str) -> Iterator[None]:
    """Turn whatever exporters raise into an `ExportError` of one line, and keep them from printing."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            Path(os.devnull).open("w") as sink,
            redirect_stdout(sink),
            redirect_stderr(sink),
            catch_warnings(),
        ):
            simplefilter("ignore")
            yield
    except HandledError:
        raise
    except Exception as error:  # the exporters raise errors of many kinds
        reason = one_line(error, first_line=True)
        raise ExportError(f"format {format!r} cannot hold this network: {reason}") from error
    finally:
        logging.disable(disabled)
