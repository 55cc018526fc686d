"""A program compiled for each set of sizes that it is called with."""

import functools
import threading
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.engine import Executable
from lepton_ai.engines.turns import Turns
from lepton_ai.engines.xla_client import jax_here, kept_in, tracing
from lepton_ai.engines.xla_program import Program, dtype_of, specs
from lepton_ai.engines.xla_refusals import complaint
from lepton_ai.errors import DataError, EngineError
from lepton_ai.model.signature import Array, Arrays, TensorSpec, check_names

#: Sets of sizes whose compiled programs are kept in memory, those called last.
MOST_SIZES = 16
_WIDE_BYTES = 8

Shapes = tuple[tuple[int, ...], ...]


class CompiledBySizes(Executable):
    """One program, compiled when it is first called in new sizes."""

    def __init__(self, program: Program, streams: int, folder: Path | None) -> None:
        self._signature = program.signature
        self._output_names = program.signature.output_names
        self._wanted = [(spec.name, dtype_of(spec)) for spec in program.signature.inputs]
        # JAX would narrow what is 64 bits wide; where nothing is, each call is spared the setting.
        is_wide = any(dtype.itemsize == _WIDE_BYTES for _, dtype in self._wanted)
        self._widths = functools.partial(jax_here().enable_x64, True) if is_wide else nullcontext
        self._program: Program | None = program
        self._turns = Turns("xla", range(streams))
        self._folder = folder
        self._ready: OrderedDict[Shapes, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._compiling = threading.Lock()

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call; the first in new sizes takes as long as compiling does."""
        arrays = self._checked(inputs)
        turn = self._turns.take()
        try:
            program, compiled = self._for(arrays)
            with self._widths():
                results = compiled(program.weights, arrays)
                values = [np.array(result) for result in results]
        except EngineError:
            raise
        except Exception as failure:  # its exceptions share no base class
            raise EngineError(f"xla failed: {complaint(failure)}") from failure
        finally:
            self._turns.give(turn)
        return dict(zip(self._output_names, values, strict=True))

    def prepare(self) -> None:
        """Compile now what has one size only."""
        self._compiled(tuple(_fixed(spec) for spec in self._signature.inputs))

    def platforms(self) -> tuple[str, ...]:
        """What the program can be compiled for, as JAX names it."""
        return self._open().platforms

    def close(self) -> None:
        """Wait for the calls that are running; give back the compiled programs and the weights."""
        self._turns.close()
        with self._lock:
            self._ready.clear()
            self._program = None

    def _open(self) -> Program:
        program = self._program
        if program is None:
            raise EngineError("this executable is closed; load the graph again")
        return program

    def _for(self, arrays: list[Array]) -> tuple[Program, Any]:
        """The program, compiled for the shapes of ``arrays``; what is known need not be checked."""
        shapes = tuple(array.shape for array in arrays)
        found = self._known(shapes)
        if found is None:
            sizes: dict[str, tuple[int, str]] = {}
            for spec, array in zip(self._signature.inputs, arrays, strict=True):
                _check_shape(spec, array, sizes)
            found = self._compiled(shapes)
        return self._open(), found

    def _compiled(self, shapes: Shapes) -> Any:
        """The program compiled for ``shapes``; one of the threads that wait for it compiles."""
        with self._compiling:
            found = self._known(shapes)
            if found is None:
                found = self._compile(self._open(), shapes)
                with self._lock:
                    self._ready[shapes] = found
                    if len(self._ready) > MOST_SIZES:
                        self._ready.popitem(last=False)
            return found

    def _known(self, shapes: Shapes) -> Any:
        with self._lock:
            found = self._ready.get(shapes)
            if found is not None:
                self._ready.move_to_end(shapes)
            return found

    def _compile(self, program: Program, shapes: Shapes) -> Any:
        # A function of its own for each set of sizes: JAX keeps what it traced with the function.
        function = program.function
        jitted = jax_here().jit(lambda weights, inputs: function(weights, inputs))
        try:
            with tracing(program.device, program.precision):
                lowered = jitted.lower(program.weights, specs(program, shapes))
                with kept_in(self._folder):
                    return lowered.compile()
        except Exception as failure:  # its exceptions share no base class
            reason = complaint(failure).removeprefix("xla refuses the graph: ")
            raise EngineError(f"xla refuses the graph: {reason}") from failure

    def _checked(self, inputs: Arrays) -> list[Array]:
        """The arrays in order, under the names and of the dtypes that the graph declares."""
        if len(inputs) != len(self._wanted) or any(name not in inputs for name, _ in self._wanted):
            try:
                check_names(self._signature.input_names, inputs)
            except DataError as failure:
                raise EngineError(f"xla: {failure}") from failure
        arrays = []
        for name, dtype in self._wanted:
            array = np.asarray(inputs[name], order="C")
            if array.dtype != dtype:
                raise EngineError(f"xla: input {name!r} is {dtype}, and {array.dtype} came")
            arrays.append(array)
        return arrays


def _fixed(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size for size in spec.shape or () if isinstance(size, int))


def _check_shape(spec: TensorSpec, array: Array, sizes: dict[str, tuple[int, str]]) -> None:
    shape = spec.shape
    if shape is not None:
        if array.ndim != len(shape):
            raise EngineError(f"xla: input {spec} has {len(shape)} axes, and {array.shape} came")
        for wanted, size in zip(shape, array.shape, strict=True):
            if isinstance(wanted, int):
                if wanted != size:
                    raise EngineError(f"xla: input {spec} takes no array of shape {array.shape}")
            elif sizes.setdefault(wanted, (size, spec.name))[0] != size:
                held, holder = sizes[wanted]
                raise EngineError(
                    f"xla: inputs {holder!r} and {spec.name!r} share the size {wanted!r}, and "
                    f"{held} and {size} came"
                )
    if array.size == 0:
        raise EngineError(f"xla: input {spec.name!r} is empty: an array of {array.shape} came")
