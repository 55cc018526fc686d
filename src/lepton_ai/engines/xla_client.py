"""XLA's devices, and JAX's settings while one of our graphs is traced or compiled.

Processors are reached by clients of our own, one for each number of threads that plans ask for: a
client has its threads from when it is made, and reads their number from the environment then. So
plans of several numbers are followed side by side in one process, whatever else uses JAX in it.
These clients also compute on the calling thread, where JAX's own would hand over to another.

What has to be set for JAX is set for this thread alone, and only while it is needed; the folder of
compiled programs, which there is one of in a process, by one thread at a time.
"""

import functools
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import EngineUnavailableError

#: What a portable program is lowered for, whatever is here.
PLATFORMS = ("cpu", "cuda", "tpu")
#: Plug-ins by which JAX comes to a device, as packages, and how JAX calls the device.
_PLUGINS = {
    "jax_cuda12_plugin": "cuda",
    "jax_cuda13_plugin": "cuda",
    "jax_rocm60_plugin": "rocm",
    "jax_rocm7_plugin": "rocm",
    "libtpu": "tpu",
}
#: What a client reads for the number of its threads when it is made.
_THREADS = "PJRT_NPROC"
#: Everything is kept, however quickly it was compiled and however small it is.
_KEEPING: Mapping[str, Any] = {
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": "none",
}

_making = threading.Lock()
_compiling = threading.Lock()
_processors: dict[int, Any] = {}


def jax_here() -> Any:
    """The package.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    try:
        import jax
        import jax.export
    except ImportError as failure:
        raise EngineUnavailableError(
            "jax is not installed: pip install 'lepton-ai[xla]'"
        ) from failure
    return jax


@functools.cache
def accelerators() -> tuple[str, ...]:
    """The devices besides the processor that JAX finds here; starts nothing without a plug-in."""
    found = dict.fromkeys(name for package, name in _PLUGINS.items() if find_spec(package))
    return tuple(name for name in found if _has(name))


def device_for(plan: EnginePlan) -> Any:
    """JAX's device for ``plan``: a processor has the threads of all the plan's streams.

    Raises:
        EngineUnavailableError: JAX is not installed, or of a version that is too new or too old.
    """
    jax = jax_here()
    if plan.device != "cpu":
        return jax.devices(plan.device)[0]
    threads = plan.threads * (plan.streams if plan.threads > 1 else 1)
    with _making:
        if threads not in _processors:
            _processors[threads] = _client(threads)
        return _processors[threads].devices()[0]


def platform_of(device: Any) -> str:
    """How programs for ``device`` are called when they are lowered."""
    name = str(device.platform)
    if name != "gpu":
        return name
    return "rocm" if "rocm" in str(device.client.platform_version).lower() else "cuda"


@contextmanager
def tracing(device: Any, precision: str) -> Iterator[None]:
    """64-bit types, and products as exact as ``precision`` says, for this thread."""
    jax = jax_here()
    with ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.default_device(device))
        if precision == "fp32":  # where XLA would otherwise take TF32 or bf16 for it
            stack.enter_context(jax.default_matmul_precision("highest"))
        yield


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """While this lasts, what XLA compiles is kept in ``folder``, and taken from there."""
    if folder is None:
        yield
        return
    config = jax_here().config
    from jax.experimental.compilation_cache import compilation_cache

    settings = {**_KEEPING, "jax_compilation_cache_dir": str(folder)}
    with _compiling:
        before = {name: getattr(config, name) for name in settings}
        try:
            for name, value in settings.items():
                config.update(name, value)
            compilation_cache.reset_cache()
            yield
        finally:
            for name, value in before.items():
                config.update(name, value)
            compilation_cache.reset_cache()


def _has(device: str) -> bool:
    try:
        return bool(jax_here().devices(device))
    except (RuntimeError, EngineUnavailableError):  # a plug-in without its device, or without JAX
        return False


def _client(threads: int) -> Any:
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = str(threads)
    try:
        from jaxlib import xla_client  # JAX itself has no way to a second client

        return xla_client.make_cpu_client(asynchronous=False)
    except (ImportError, AttributeError, TypeError) as failure:
        raise EngineUnavailableError(
            f"this version of jax does not make a client for a processor as tested versions do "
            f"({failure}): pip install 'lepton-ai[xla]'"
        ) from failure
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before
