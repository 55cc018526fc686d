"""A graph compiled by OpenVINO, answering: as many infer requests as the plan has streams.

The arrays of a call are handed over as they are, by their place in the graph and not by name. The
answers are copied out of the request's memory, which the next call writes to.
"""

from typing import Any

import numpy as np

from lepton_ai.engines.engine import Executable
from lepton_ai.engines.feed import TEXT, Feed, Wanted
from lepton_ai.engines.heap import trim_heap
from lepton_ai.engines.turns import Turns
from lepton_ai.errors import EngineError
from lepton_ai.model.signature import Array, Arrays

_SINK = "/sink_port_0"
#: Element types that NumPy has under the same meaning; others are left to OpenVINO to judge.
_DTYPES: dict[str, np.dtype[Any]] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "boolean": np.dtype(np.bool_),
    "string": TEXT,
    **{f"i{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"u{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
}


class Requests(Executable):
    """The infer requests of one compiled graph; a call takes one, and waits where none is free."""

    def __init__(self, compiled: Any, streams: int, weights: Any = None) -> None:
        wanted = [_wanted(given) for given in compiled.inputs]
        self._feed = Feed("openvino", wanted)
        self._quick = [_quickly(one) for one in wanted]
        self._weights = weights  # of what was kept, mapped: the graph reads them where they are
        self._outputs = [own_name(output, index) for index, output in enumerate(compiled.outputs)]
        requests = (compiled.create_infer_request() for _ in range(streams))
        self._turns = Turns("openvino", requests)

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call, copied out of the request's own memory."""
        call = self._by_place(inputs)
        request = self._turns.take()
        try:
            values = request.infer(call, share_inputs=True).values()
        except Exception as failure:  # its exceptions share no base class
            self._feed.check(inputs)
            raise EngineError(f"openvino failed: {reason_of(failure)}") from failure
        finally:
            self._turns.give(request)
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """End the requests when their calls have ended; the graph's memory goes with them."""
        self._turns.close()
        self._weights = None
        trim_heap()

    def _by_place(self, inputs: Arrays) -> dict[int, Array]:
        """The arrays of a call by the place of their input.

        What does not fit is told here: OpenVINO would convert floats to integers, and for a missing
        input compute on the last call's.
        """
        call: dict[int, Array] = {}
        try:
            for place, (name, dtype, batched) in enumerate(self._quick):
                value = inputs[name]
                if (dtype is not None and value.dtype != dtype) or (batched and not len(value)):
                    break
                call[place] = value
        except (KeyError, AttributeError, TypeError):
            call.clear()
        if not len(call) == len(inputs) == len(self._quick):
            self._feed.check(inputs)
        return call


def reason_of(failure: Exception | str) -> str:
    """The line that says most: the plug-in's errors begin with its own source files."""
    text = str(failure)
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith("Exception from src/")]
    return telling[-1] if telling else text.strip()


def names_of_size(compiled: Any, size: int) -> list[str]:
    """The inputs whose first size is fixed to ``size``."""
    wanted = [_wanted(given) for given in compiled.inputs]
    return [one.name for one in wanted if one.shape and one.shape[0] == size]


def own_name(output: Any, index: int) -> str:
    """The name of an output in the graph that was compiled.

    A tensor goes by the names of what was folded into it too; its sink knows the output's own.

    Raises:
        EngineError: there is none, or the output cannot be read.
    """
    if output.get_element_type().to_string() == "bf16":
        raise EngineError("openvino hands bf16 outputs over with their bits misread")
    names: set[str] = output.names
    if not names:
        raise EngineError(f"openvino lost the name of output {index}")
    own = str(output.node.get_friendly_name()).removesuffix(_SINK)
    return own if own in names else min(names)


def _quickly(wanted: Wanted) -> tuple[str, "np.dtype[Any] | None", bool]:
    """What of an input is looked at in every call: its dtype, and whether it has no samples."""
    dtype = None if wanted.dtype == TEXT else wanted.dtype
    return wanted.name, dtype, (wanted.shape or (0,))[0] is None


def _wanted(given: Any) -> Wanted:
    """What the compiled graph tells of an input."""
    own = str(given.node.get_friendly_name())
    name = own if own in given.names else min(given.names, default=own)
    shape = given.get_partial_shape()
    sizes = None
    if shape.rank.is_static:
        sizes = tuple(size.get_length() if size.is_static else None for size in shape)
    kind = given.get_element_type().to_string()
    return Wanted(name=name, dtype=_DTYPES.get(kind), shape=sizes)
