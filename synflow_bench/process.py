"""The state of this process that code of plugins may change: it is restored, and what had changed is named.

The settings of torch are among them where torch is loaded; this module does not load it.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import count, takewhile
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple


class _Setting(NamedTuple):
    take: Callable[[], Any]
    put: Callable[[Any], object]


class ProcessState:
    """The settings of this process at one moment.

    Example:
        >>> import os
        >>> state = ProcessState()
        >>> os.environ["A_VARIABLE"] = "1"
        >>> state.restore()
        ('environment variables',)
    """

    def __init__(self) -> None:
        self._taken = {name: (each, each.take()) for name, each in _settings().items()}

    def restore(self) -> tuple[str, ...]:
        """Restore every setting that has changed, and return their names."""
        changed = []
        for name, (setting, before) in self._taken.items():
            if setting.take() != before:
                changed.append(name)
                setting.put(before)
        return tuple(changed)

    @classmethod
    @contextmanager
    def kept(cls) -> Iterator[None]:
        """Restore the settings at the end of the block."""
        state = cls()
        try:
            yield
        finally:
            state.restore()


def _settings() -> dict[str, _Setting]:
    torch = _torch_settings() if "torch.optim.optimizer" in sys.modules else {}
    return {**_OF_PYTHON, **(_OF_SIGNALS if _is_main_thread() else {}), **torch}


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  a Path each costs
    except OSError:  # it is deleted
        return None


def _enter(folder: str | None) -> None:
    if folder is not None:
        with suppress(OSError):
            os.chdir(folder)


_OF_LIBRARIES = (b"CUDA_", b"KMP_", b"__KMP_")
"""The beginnings of variables that libraries set for themselves."""

_LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})


def _environment() -> tuple[dict[str, str], dict[bytes, bytes]]:
    """Return the environment of Python, and that of C, which `os.putenv` changes too."""
    try:
        entries: Any = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
        found = list(takewhile(lambda entry: entry is not None, map(entries.__getitem__, count())))
    except (OSError, TypeError, ValueError):  # another system, or an empty environment
        found = []
    split = (entry.partition(b"=") for entry in found if not entry.startswith(_OF_LIBRARIES))
    return dict(os.environ), {name: value for name, _, value in split}


def _set_environment(before: tuple[dict[str, str], dict[bytes, bytes]]) -> None:
    of_python, of_c = before
    for name in os.environ.keys() - of_python.keys():
        del os.environ[name]
    os.environ.update(of_python)  # those of C too
    for added in _environment()[1].keys() - of_c.keys():
        os.unsetenv(added)


def _limits() -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in _LIMITS}


def _set_limits(before: Mapping[int, tuple[int, int]]) -> None:
    for number, (soft, hard) in before.items():
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, OSError):  # a hard limit that was lowered stays so, except for root
            with suppress(ValueError, OSError):
                lowered = resource.getrlimit(number)[1]
                resource.setrlimit(number, (lowered if soft > lowered >= 0 else soft, lowered))


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _set_affinity(before: set[int]) -> None:
    with suppress(OSError):  # the control group allows fewer now
        os.sched_setaffinity(0, before)


def _set_path(before: list[str]) -> None:
    """Put added folders behind the others: a plugin may need them, and nobody else may find them first."""
    sys.path[:] = before + [folder for folder in sys.path if folder not in before]


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _set_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    with suppress(AttributeError):
        warnings._filters_mutated()  # type: ignore[attr-defined]


def _streams() -> tuple[Any, ...]:
    return sys.stdin, sys.stdout, sys.stderr


def _set_streams(before: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = before


_OF_PYTHON = {
    "environment variables": _Setting(_environment, _set_environment),
    "resource limits": _Setting(_limits, _set_limits),
    "the CPU affinity": _Setting(_affinity, _set_affinity),
    "the signal mask": _Setting(
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda before: signal.pthread_sigmask(signal.SIG_SETMASK, before),
    ),
    "the working folder": _Setting(_folder, _enter),
    "the import path": _Setting(lambda: list(sys.path), _set_path),
    "the umask": _Setting(_umask, os.umask),
    "the filters of warnings": _Setting(lambda: list(warnings.filters), _set_filters),
    "the standard streams": _Setting(_streams, _set_streams),
    "the recursion limit": _Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "garbage collection": _Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
}

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD)


def _handlers() -> dict[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _set_handlers(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        if handler is not None:  # not set from Python
            signal.signal(number, handler)


_OF_SIGNALS = {
    "signal handlers": _Setting(_handlers, _set_handlers),
    "the alarm": _Setting(
        lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        lambda on: None if on else signal.setitimer(signal.ITIMER_REAL, 0),
    ),
}


def _torch_settings() -> dict[str, _Setting]:
    torch: Any = sys.modules["torch"]
    module: Any = sys.modules["torch.nn.modules.module"]
    optimizer: Any = sys.modules["torch.optim.optimizer"]
    kinds = ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",)

    def nesting() -> int:
        torch.autocast_increment_nesting()
        return int(torch.autocast_decrement_nesting())

    def autocast() -> list[Any]:
        states = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds]
        return [nesting(), *states]

    def set_autocast(before: list[Any]) -> None:
        depth, *states = before
        # Only the outermost autocast clears the cast weights, which would be used after they have changed.
        while nesting() > depth:
            torch.autocast_decrement_nesting()
        while nesting() < depth:
            torch.autocast_increment_nesting()
        torch.clear_autocast_cache()
        for kind, enabled, dtype in states:
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, dtype)

    def deterministic() -> tuple[bool, bool]:
        enabled = torch.are_deterministic_algorithms_enabled()
        return enabled, torch.is_deterministic_algorithms_warn_only_enabled()

    def set_deterministic(before: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    def cudnn() -> tuple[bool, bool, bool]:
        flags = torch.backends.cudnn
        return flags.enabled, flags.benchmark, flags.deterministic

    def set_cudnn(before: tuple[bool, bool, bool]) -> None:
        flags = torch.backends.cudnn
        flags.enabled, flags.benchmark, flags.deterministic = before

    def set_tf32(before: bool) -> None:
        torch.backends.cudnn.allow_tf32 = before

    found = {name: value for name, value in vars(module).items() if name.startswith("_global_")}
    hooks: list[dict[Any, Any]] = [value for value in found.values() if isinstance(value, dict)]
    hooks += [optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks]

    def set_hooks(before: list[dict[Any, Any]]) -> None:
        for held, kept in zip(hooks, before, strict=True):
            held.clear()
            held.update(kept)

    return {
        "torch.set_num_threads": _Setting(torch.get_num_threads, torch.set_num_threads),
        "torch.set_default_dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
        "modes of torch functions": _Setting(torch._C._len_torch_function_stack, _pop_modes),
        "torch.set_default_device": _Setting(torch.get_default_device, torch.set_default_device),
        "autocast": _Setting(autocast, set_autocast),
        "the recording of gradients": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "inference mode": _Setting(torch.is_inference_mode_enabled, _set_inference_mode),
        "torch.use_deterministic_algorithms": _Setting(deterministic, set_deterministic),
        "the flags of cuDNN": _Setting(cudnn, set_cudnn),
        "TF32 in cuDNN": _Setting(cudnn_tf32, set_tf32),
        "the kernels of attention": _Setting(attention_kernels, set_attention_kernels),
        "torch.set_float32_matmul_precision": _Setting(matmul_precision, torch.set_float32_matmul_precision),
        "torch.set_flush_denormal": _Setting(flushes_subnormal, torch.set_flush_denormal),
        "anomaly detection": _Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        "hooks of all modules or optimizers": _Setting(lambda: [dict(each) for each in hooks], set_hooks),
    }


_GUARDS: list[Any] = []
"""Contexts that must not end: their end would bring back what a plugin has set."""


def _set_inference_mode(on: bool) -> None:
    torch: Any = sys.modules["torch"]
    _GUARDS.append(torch.inference_mode(on))
    _GUARDS[-1].__enter__()


def _pop_modes(before: int) -> None:
    torch: Any = sys.modules["torch"]
    while torch._C._len_torch_function_stack() > before:
        torch._C._pop_torch_function_stack()


def flushes_subnormal() -> bool:
    """Return True if torch takes subnormal numbers for zero in this thread."""
    torch: Any = sys.modules["torch"]
    smallest = torch.tensor(torch.finfo(torch.float32).tiny, dtype=torch.float32, device="cpu")
    return not (smallest / 2).item()


def matmul_precision() -> str:
    """Return the precision of float32 matrix products, as `torch.get_float32_matmul_precision`.

    That function raises where one of the newer switches, for one kind of device, says something else.
    """
    torch: Any = sys.modules["torch"]
    try:
        return str(torch.get_float32_matmul_precision())
    except RuntimeError:
        return "high" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "highest"


def cudnn_tf32() -> bool:
    """Return True if convolutions of cuDNN may round float32 inputs to 10 bits.

    torch raises where one of the newer switches, for convolutions alone, says something else.
    """
    cudnn: Any = sys.modules["torch"].backends.cudnn
    try:
        return bool(cudnn.allow_tf32)
    except RuntimeError:
        return bool(cudnn.conv.fp32_precision != "ieee")


_ATTENTION = {"flash": "flash", "efficient": "mem_efficient", "cudnn": "cudnn", "math": "math"}
"""The kernels of attention, and how the names begin that they have in `torch.backends.cuda`."""


def attention_kernels() -> str:
    """Return the kernels of attention that torch may choose from, separated by commas."""
    flags: Any = sys.modules["torch"].backends.cuda
    return ",".join(kind for kind, name in _ATTENTION.items() if getattr(flags, f"{name}_sdp_enabled")())


def set_attention_kernels(kinds: str) -> None:
    """Let torch choose from these kernels of attention, on every device."""
    flags: Any = sys.modules["torch"].backends.cuda
    for kind, name in _ATTENTION.items():
        getattr(flags, f"enable_{name}_sdp")(kind in kinds.split(","))


class SharedCode:
    """The functions of Python, torch and synflow-bench at one moment, to find those that are replaced."""

    def __init__(self) -> None:
        self._taken = {title: (owner, _functions(owner)) for title, owner in _owners()}
        self._names = {title: set(vars(owner)) for title, (owner, _) in self._taken.items()}

    def replaced(self) -> tuple[str, ...]:
        """Return the names that now stand for code from elsewhere."""
        return tuple(f"{title}.{name}" for title, _, name in self._found())

    def restore(self) -> tuple[str, ...]:
        """Restore those functions, and return their names."""
        found = list(self._found())
        for title, owner, name in found:
            before = self._taken[title][1]
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)
        return tuple(f"{title}.{name}" for title, _, name in found)

    def _found(self) -> Iterator[tuple[str, ModuleType | type, str]]:
        for title, (owner, before) in self._taken.items():
            now = dict(vars(owner))
            names = [name for name, function in before.items() if now.get(name) is not function]
            if isinstance(owner, type):  # an inherited function may be hidden by another
                names += set(now).difference(self._names[title]).intersection(_inherited(owner))
            yield from ((title, owner, name) for name in names if not _is_of_torch(now.get(name)))


def _inherited(kind: type) -> set[str]:
    return {name for base in kind.__mro__[1:-1] for name in vars(base)}


def _owners() -> Iterator[tuple[str, ModuleType | type]]:
    modules = [builtins]
    for name, loaded in list(sys.modules.items()):
        if isinstance(loaded, ModuleType) and (name in _WATCHED or name.startswith("synflow_bench")):
            modules.append(loaded)
    for module in modules:
        yield module.__name__, module
        if module is not builtins and module.__name__ != "torch":
            for name, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__.startswith(("torch.", "synflow_bench")):
                    yield f"{module.__name__}.{name}", value
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        yield "torch.Tensor", torch.Tensor


_WATCHED = {"torch", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.optim", "torch.autograd"}
_FUNCTIONS = (FunctionType, BuiltinFunctionType, type, staticmethod, classmethod, property)


def _functions(owner: ModuleType | type) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if isinstance(value, _FUNCTIONS)}


def _is_of_torch(value: Any) -> bool:
    """Return True for code in torch's own files: its compiler replaces some functions when it is loaded."""
    function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    code = getattr(function, "__code__", None)
    torch = sys.modules.get("torch")
    if code is None or torch is None or torch.__file__ is None:
        return False
    return str(code.co_filename).startswith(f"{Path(torch.__file__).parent}{os.sep}")


def call_in_environment(variables: Mapping[str, str], module: str, function: str, *args: object) -> None:
    """Call a function of a module, which is imported with these environment variables.

    It is the first function of a new process: numeric libraries read their number of threads when they are
    loaded, and the environment of the process that starts it is shared by its threads.

    Args:
        variables: Environment variables to set.
        module: The module.
        function: The function.
        *args: Its arguments.
    """
    os.environ.update(variables)
    getattr(import_module(module), function)(*args)
