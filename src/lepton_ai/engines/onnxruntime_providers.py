"""Where ONNX Runtime can compute here: which of its providers really do, found out by asking them.

A provider that is built in may still lack its driver or its libraries, and the runtime then quietly
takes the processor instead. So each one is given a graph of one node, and the processor is
forbidden to it.
"""

import functools
from collections.abc import Callable
from typing import Any

from lepton_ai.errors import EngineError, EngineUnavailableError, first_line

CPU = "CPUExecutionProvider"
#: The provider behind each device of a plan, with those that take over what it leaves.
PROVIDERS = {
    "cpu": (CPU,),
    "cuda": ("CUDAExecutionProvider", CPU),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU),
    "rocm": ("ROCMExecutionProvider", CPU),
    "migraphx": ("MIGraphXExecutionProvider", CPU),
    "coreml": ("CoreMLExecutionProvider", CPU),
    "directml": ("DmlExecutionProvider", CPU),
}
#: Devices that inputs are copied to ahead of a call, under the runtime's name for their memory;
#: the others take NumPy arrays as the processor does.
MEMORY = {"cuda": "cuda", "tensorrt": "cuda"}
#: The distribution that brings each device; one of them at a time can be installed.
DISTRIBUTIONS = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "rocm": "onnxruntime-rocm",
    "migraphx": "onnxruntime-migraphx",
    "coreml": "onnxruntime",
    "directml": "onnxruntime-directml",
}
#: ``y = Add(x, x)`` for two floats, opset 13, as an ONNX file: the base install cannot write one.
ONE_NODE = bytes.fromhex(
    "0808 3a35 0a0e 0a0178 0a0178 120179 2203416464 120167"
    "5a0f 0a0178 120a 0a08 0801 1204 0a020802"
    "620f 0a0179 120a 0a08 0801 1204 0a020802"
    "4202 100d"
)
_FATAL_ONLY = 4

#: Opens a session on a graph with these providers and these entries of its configuration.
Open = Callable[[bytes, list[str], dict[str, str]], Any]


def devices() -> tuple[str, ...]:
    """The devices that a session computes on here, the processor first."""
    return tuple(name for name in PROVIDERS if not why_not(name))


def check_device(device: str) -> None:
    """Raise :class:`EngineError` where nothing computes on ``device``; the message says why."""
    if device == "cpu":
        return
    if device not in PROVIDERS:
        raise EngineError(f"onnxruntime knows the devices {', '.join(PROVIDERS)}, not {device!r}")
    reason = why_not(device)
    if reason:
        raise EngineUnavailableError(
            f"onnxruntime does not compute on {device} here: {reason}; "
            f"it has {', '.join(devices())}; pip install {DISTRIBUTIONS[device]} brings {device}"
        )


@functools.cache
def why_not(device: str) -> str:
    """Why no session computes on ``device`` here; empty if one does."""
    import onnxruntime  # type: ignore[import-untyped]

    provider = PROVIDERS[device][0]
    if provider not in onnxruntime.get_available_providers():
        return f"this build has no {provider}"
    return trial(provider, _open)


def trial(provider: str, open_session: Open) -> str:
    """Why ``provider`` does not run a graph of one node by itself; empty if it does."""
    import numpy as np

    alone = {"session.disable_cpu_ep_fallback": "0" if provider == CPU else "1"}
    try:
        session = open_session(ONE_NODE, [provider], alone)
        if provider not in session.get_providers():
            return f"{provider} gave way to {', '.join(session.get_providers())}"
        (answer,) = session.run(["y"], {"x": np.array([1.0, 2.0], np.float32)})
    except Exception as failure:  # its exceptions share no base class
        return first_line(failure)
    return "" if answer.tolist() == [2.0, 4.0] else f"{provider} computed 1 + 1 = {answer[0]}"


def _open(graph: bytes, providers: list[str], entries: dict[str, str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = 1
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
