"""What a graph in memory answers, call by call, in ONNX Runtime."""

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
import onnxruntime  # type: ignore[import-untyped]

from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Arrays


def answers(model: onnx.ModelProto, calls: Iterable[Arrays]) -> Iterator[list[Any]]:
    """The outputs of ``model`` for each of ``calls``, in the graph's order, one call at a time.

    The graph is run as it is written, which loads soonest.

    Raises:
        ModelError: ONNX Runtime refuses the graph, or fails on a call.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as failure:  # ONNX Runtime's exceptions share no base class
        raise ModelError(f"onnxruntime refuses the graph: {failure}") from failure
    for feed in calls:
        try:
            yield session.run(None, dict(feed))
        except Exception as failure:
            raise ModelError(f"onnxruntime fails on the graph: {failure}") from failure
