"""A graph open in ONNX Runtime: as a plan says, from a file or from what was kept of it before.

What is kept is the optimised graph with its weights in a file beside it. Opening that leaves out
reading the weights out of the graph and every optimisation; the weights are mapped, so that
processes which opened the same graph share them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.cache import cached
from lepton_ai.engines.engine import EnginePlan, Executable
from lepton_ai.engines.feed import TEXT, Feed, Wanted
from lepton_ai.engines.heap import trim_heap
from lepton_ai.engines.onnxruntime_providers import MEMORY, PROVIDERS
from lepton_ai.engines.processor import one_cpu_per_core
from lepton_ai.engines.turns import Turns
from lepton_ai.errors import EngineError, EngineUnavailableError, first_line
from lepton_ai.model.signature import Arrays

#: In a plan's ``without``: the graph is run as it is written, with no optimisation at all.
EVERYTHING = "everything"
#: In a plan's ``without``: memory goes back to the system after each call, to be asked for anew.
ARENA = "arena"
#: In a plan's ``without``: threads that have nothing to do sleep at once, and do not spin.
SPINNING = "spinning"
_NOT_OPTIMIZERS = (EVERYTHING, ARENA, SPINNING)
_ERRORS_ONLY = 3
#: The optimised graph in a cache's entry, and the weights beside it.
_KEPT = "graph.onnx"
_WEIGHTS = "weights"
#: Weights below this stay in the graph's own file.
_LEAST_BESIDE_BYTES = "1024"
_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(string)": TEXT,
    **{f"tensor({name})": np.dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
}

#: Sets more options of a session that is about to be opened.
Ask = Callable[[Any], None]


def open_session(source: str | bytes, plan: EnginePlan, ask: Ask | None = None) -> Any:
    """A session for a file or a serialised graph.

    Raises:
        EngineUnavailableError: the runtime is not installed, or the plan's device not here.
        EngineError: the runtime refuses the graph or the precision.
    """
    if plan.precision != "fp32":
        raise EngineError(f"onnxruntime computes in fp32, not in {plan.precision}")
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as failure:
        raise EngineUnavailableError("onnxruntime is not installed") from failure
    options = onnxruntime.SessionOptions()
    _set(options, onnxruntime, plan)
    if ask is not None:
        ask(options)
    try:
        session = onnxruntime.InferenceSession(
            source,
            options,
            providers=list(PROVIDERS[plan.device]),
            disabled_optimizers=[name for name in plan.without if name not in _NOT_OPTIMIZERS],
        )
    except Exception as failure:  # its exceptions share no base class
        raise EngineError(f"onnxruntime refuses the graph: {first_line(failure)}") from failure
    session.disable_fallback()  # it prints, and goes on where it was not asked to
    if PROVIDERS[plan.device][0] not in session.get_providers():
        raise EngineError(f"onnxruntime did not take the graph to {plan.device}")
    return session


def kept_session(cache: Path, engine: str, path: Path, plan: EnginePlan) -> Any:
    """A session for the graph at ``path`` from what ``cache`` has of it, which it has afterwards.

    Raises:
        EngineError: the runtime refuses the graph.
    """
    opened: list[Any] = []

    def make(folder: Path) -> None:
        opened.append(open_session(str(path), plan, _keeping(folder)))

    try:
        folder = cached(cache, engine, path, plan, make)
        if not opened:
            opened.append(open_session(str(folder / _KEPT), plan, _as_written))
    except (OSError, EngineError):  # no room, or nothing that it takes: then as without a cache
        return opened[0] if opened else open_session(str(path), plan)
    return opened[0]


class Session(Executable):
    """An open session, which as many calls at once may use as the plan has streams."""

    def __init__(self, session: Any, plan: EnginePlan) -> None:
        self._turns = Turns("onnxruntime", [session] * plan.streams)
        self._feed = Feed("onnxruntime", [_wanted(one) for one in session.get_inputs()])
        self._outputs = [
            output.name for output in session.get_outputs() if output.type.startswith("tensor(")
        ]
        self._memory = MEMORY.get(plan.device)

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call; tensors alone, other kinds are left out."""
        try:
            self._feed.refuse_empty(inputs)  # its recurrent layers end the process on one
        except AttributeError:  # no arrays, and no texts: told by name
            self._feed.check(inputs)
        session = self._turns.take()
        try:
            if self._memory is None:
                values = session.run(self._outputs, inputs)
            else:
                values = run_bound(session, self._outputs, inputs, self._memory)
        except Exception as failure:  # its exceptions share no base class
            self._feed.check(inputs)
            raise EngineError(f"onnxruntime failed: {first_line(failure)}") from failure
        finally:
            self._turns.give(session)
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """End the session when its calls have ended; its memory goes with it."""
        self._turns.close()
        trim_heap()


def run_bound(session: Any, outputs: Sequence[str], inputs: Arrays, memory: str) -> list[Any]:
    """One call whose arrays are moved to and from the device here, and not node by node."""
    import onnxruntime

    binding = session.io_binding()
    for name, value in inputs.items():
        whole = np.asarray(value, order="C")
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(whole, memory))
    for name in outputs:
        binding.bind_output(name, memory)
    session.run_with_iobinding(binding)
    values: list[Any] = binding.copy_outputs_to_cpu()
    return values


def _set(options: Any, onnxruntime: Any, plan: EnginePlan) -> None:
    """What ``plan`` means to a session.

    The threads of its pool help whichever call is running; each call brings one thread of its own.
    """
    helpers = plan.streams * (plan.threads - 1)
    options.intra_op_num_threads = helpers + 1
    options.inter_op_num_threads = plan.branches
    options.log_severity_level = _ERRORS_ONLY
    if plan.threads > 1:  # all of them lay weights out while a graph is loaded
        options.add_session_config_entry("session.prepack.enable_parallel", "1")
    if plan.branches > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if EVERYTHING in plan.without:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if ARENA in plan.without:
        options.enable_cpu_mem_arena = False
    if SPINNING in plan.without:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    cpus = one_cpu_per_core()[1 : helpers + 1]
    if plan.pinning and helpers and len(cpus) == helpers:
        places = ";".join(str(cpu + 1) for cpu in cpus)  # the runtime counts them from 1
        options.add_session_config_entry("session.intra_op_thread_affinities", places)


def _keeping(folder: Path) -> Ask:
    def ask(options: Any) -> None:
        options.optimized_model_filepath = str(folder / _KEPT)
        prefix = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{prefix}_file_name", _WEIGHTS)
        options.add_session_config_entry(f"{prefix}_min_size_in_bytes", _LEAST_BESIDE_BYTES)

    return ask


def _as_written(options: Any) -> None:
    """Options for a graph that is optimised already."""
    import onnxruntime

    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def _wanted(given: Any) -> Wanted:
    """What the runtime tells of an input: its sizes are numbers, symbols or nothing."""
    kind = str(given.type)
    if not kind.startswith("tensor("):
        return Wanted(name=given.name, optional=kind.startswith("optional"))
    sizes = tuple(size if isinstance(size, int) else None for size in given.shape)
    return Wanted(name=given.name, dtype=_DTYPES.get(kind), shape=sizes)
