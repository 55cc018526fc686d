"""A graph as a function that JAX traces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from lepton_ai.engines.xla_client import jax_here, platform_of, tracing
from lepton_ai.engines.xla_weights import (
    only_multiplied,
    passed_weights,
    release,
)
from lepton_ai.errors import EngineError, ModelError
from lepton_ai.model.signature import Signature, TensorSpec

if TYPE_CHECKING:  # the base install has no onnx_ir
    import onnx_ir as ir

#: Of a graph's weights and inputs, in order, its outputs in order.
Function = Callable[[Sequence[Any], Sequence[Any]], list[Any]]

#: What matrices are rounded to where the plan's precision is bf16.
NARROW = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A function with its weights, which lie on the device already.

    ``platforms`` are those that the function can be compiled for.
    """

    signature: Signature
    precision: str
    device: Any
    weights: tuple[Any, ...]
    function: Function
    platforms: tuple[str, ...]

    @property
    def is_static(self) -> bool:
        """Whether every input has one shape."""
        return all(
            spec.shape is not None and all(isinstance(size, int) for size in spec.shape)
            for spec in self.signature.inputs
        )


def read_program(path: Path, precision: str, device: Any) -> Program:
    """The ONNX file at ``path``, to be run on ``device``.

    Raises:
        EngineError: the graph holds what XLA cannot compile; the message names the node.
    """
    from onnx_ir.passes.common import LiftConstantsToInitializersPass

    from lepton_ai.graph.bodies import inline_functions
    from lepton_ai.graph.onnx_file import load_graph
    from lepton_ai.operators.evaluation import Evaluation
    from lepton_ai.operators.namespaces.jax import JaxNamespace

    try:
        model = load_graph(path)
        inline_functions(model)
        LiftConstantsToInitializersPass(lift_all_constants=False)(model)
        signature = _signature(model)
    except ModelError as failure:
        raise EngineError(f"xla refuses the graph: {failure}") from failure
    narrow = NARROW.name if precision == "bf16" else None
    namespace = JaxNamespace(products=narrow)
    Evaluation(model, namespace)  # refuses what has no meaning
    weights = passed_weights(model)
    names = tuple(weights)
    multiplied = only_multiplied(model) if narrow else frozenset()
    rounded = {name for name in multiplied & set(weights) if weights[name].dtype == np.float32}
    there = tuple(
        placed(array.astype(NARROW) if name in rounded else array, device)
        for name, array in weights.items()
    )
    release(model, weights)

    def function(given: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        named = {
            # Rounding what was rounded is nothing, so XLA leaves both conversions out.
            name: namespace.cast(one, np.dtype(np.float32)) if name in rounded else one
            for name, one in zip(names, given, strict=True)
        }
        feed = dict(zip(signature.input_names, inputs, strict=True))
        answer = Evaluation(model, namespace, named).run(feed)
        return [_traced(namespace, answer[name], name) for name in signature.output_names]

    return Program(
        signature=signature,
        precision=precision,
        device=device,
        weights=there,
        function=function,
        platforms=(platform_of(device),),
    )


def specs(program: Program, shapes: Sequence[Sequence[Any]]) -> list[Any]:
    """The inputs of ``program`` in these shapes, as JAX describes arrays."""
    jax = jax_here()
    return [
        jax.ShapeDtypeStruct(tuple(shape), dtype_of(spec))
        for spec, shape in zip(program.signature.inputs, shapes, strict=True)
    ]


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """The dtype of an input."""
    return NARROW if spec.dtype == NARROW.name else np.dtype(spec.dtype)


def placed(array: Any, device: Any) -> Any:
    """``array`` on the device; where it lies, if the device is the processor and it fits."""
    with tracing(device, "fp32"):
        return jax_here().device_put(array, device)


def _traced(namespace: Any, value: Any, name: str) -> Any:
    if namespace.owns(value):
        return value
    if isinstance(value, np.ndarray):
        return namespace.from_host(value)
    raise EngineError(f"xla refuses the graph: output {name!r} is not a tensor")


def _signature(model: "ir.Model") -> Signature:
    import onnx
    import onnx_ir as ir

    from lepton_ai.formats.onnx_signature import read_signature
    from lepton_ai.graph.applying import free_inputs

    signature, _ = read_signature(
        onnx.GraphProto(
            input=[ir.serde.serialize_value(value) for value in free_inputs(model)],
            output=[ir.serde.serialize_value(value) for value in model.graph.outputs],
        )
    )
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype == "str":
            raise ModelError(f"{spec.name!r} is text, which XLA does not compute with")
    return signature
