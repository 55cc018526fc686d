"""The signature that an ONNX graph declares."""

from collections.abc import Iterable
from itertools import count

import onnx
from onnx import GraphProto, TensorProto, ValueInfoProto

from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Dim, Signature, TensorSpec

#: ONNX dtypes that engines exchange, under our names.
DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.BOOL: "bool",
    TensorProto.STRING: "str",
    **{
        getattr(TensorProto, f"{kind.upper()}{bits}"): f"{kind}{bits}"
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}
#: Names that exporters write for "unknown"; two that are equal do not mean equal sizes.
_NAMELESS = {"", "?", "-1", "None", "none", "unk", "unknown"}


def read_signature(graph: GraphProto) -> tuple[Signature, tuple[str, ...]]:
    """The graph's tensors in its own order, and notes on what is left out.

    Inputs that are initialisers have a value of their own and are no inputs. An unknown size
    without a name gets one that no other size has.

    Raises:
        ModelError: an input or output is nothing that engines exchange (a sequence, int4), or no
            input or no output is left.
    """
    held = {tensor.name for tensor in graph.initializer}
    held |= {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in held]
    outputs = [value for value in graph.output if value.type.HasField("tensor_type")]
    _check_unique([value.name for value in inputs], "inputs")
    _check_unique([value.name for value in graph.output], "outputs")
    if not inputs:
        raise ModelError("the model takes no input, so its answer is a constant")
    if not outputs:
        kinds = ", ".join(f"{value.name!r} ({_kind(value)})" for value in graph.output) or "none"
        raise ModelError(f"the model has no output that is a tensor; its outputs are: {kinds}")
    names = _Sizes((*inputs, *outputs))
    signature = Signature(
        inputs=tuple(_spec(value, "input", names) for value in inputs),
        outputs=tuple(_spec(value, "output", names) for value in outputs),
    )
    return signature, tuple(
        f"output {value.name!r} is a {_kind(value)}, not a tensor, and is left out"
        for value in graph.output
        if not value.type.HasField("tensor_type")
    )


class _Sizes:
    """Names for unknown sizes; those that the graph gives are kept."""

    def __init__(self, values: Iterable[ValueInfoProto]) -> None:
        self._taken = {
            dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim
        }
        self._numbers = count(1)

    def name(self, axis: int) -> str:
        """A name that is free, ``batch`` for the first unknown leading axis."""
        name = "batch"
        while axis != 0 or name in self._taken:
            name = f"dim_{next(self._numbers)}"
            axis = 0
        self._taken.add(name)
        return name


def _spec(value: ValueInfoProto, role: str, sizes: _Sizes) -> TensorSpec:
    if not value.type.HasField("tensor_type"):
        raise ModelError(
            f"{role} {value.name!r} is a {_kind(value)}; models whose inputs are tensors can be "
            "read, so export this one with a tensor in its place"
        )
    tensor = value.type.tensor_type
    dtype = DTYPES.get(tensor.elem_type)
    if dtype is None:
        named = {number: name for name, number in TensorProto.DataType.items()}
        name = named.get(tensor.elem_type, f"number {tensor.elem_type}").lower()
        raise ModelError(
            f"{role} {value.name!r} has the dtype {name}, which NumPy cannot hold; models with "
            f"{', '.join(DTYPES.values())} can be read, so cast it inside the model"
        )
    shape: tuple[Dim, ...] | None = None
    if tensor.HasField("shape"):
        shape = tuple(_size(dim, axis, sizes) for axis, dim in enumerate(tensor.shape.dim))
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


def _size(dim: onnx.TensorShapeProto.Dimension, axis: int, sizes: _Sizes) -> Dim:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    if dim.dim_param not in _NAMELESS:
        return str(dim.dim_param)
    return sizes.name(axis)


def _kind(value: ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    return str(kind).removesuffix("_type").replace("_", " ") if kind else "value without a type"


def _check_unique(names: list[str], role: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ModelError(f"two {role} are called {name!r}")
