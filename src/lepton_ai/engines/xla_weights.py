"""The weights of a graph as arrays that are handed to its program, rather than compiled into it.

What some operator needs to know beforehand, such as the shape that ``Reshape`` is given, stays in
the program, and so does what is small.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the base install has no onnx_ir
    import onnx_ir as ir

Array = np.ndarray[Any, Any]

#: Bytes up to which a weight is a constant of the program, which XLA then computes with.
SMALL = 1024
#: Arrays that start at a multiple of this many bytes are used where they lie, not copied.
_ALIGNMENT = 64
_BYTES = "weights.bin"
_CONTENTS = "weights.json"
#: Their answers do not depend on what their inputs hold.
_ASK_SIZES_ONLY = frozenset({"Shape", "Size"})
#: Operators that do nothing with a weight but multiply by it and sum up.
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: Kinds of dtype that XLA takes from outside on every device; the shorter ones stay inside.
_KINDS = "biufc"


def passed_weights(model: "ir.Model") -> dict[str, Array]:
    """The weights to hand over, by name, as they are in the file."""
    names = Counter(name for graph in model.graphs() for name in graph.initializers)
    held = _needed_beforehand(model)
    found = {}
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            # Bodies may give one name to two weights; nobody can be asked for either by it.
            if tensor is None or names[name] > 1 or name in held or tensor.nbytes <= SMALL:
                continue
            if _is_plain(tensor.dtype.numpy()):
                found[name] = tensor.numpy()
    return found


def release(model: "ir.Model", names: Mapping[str, Any]) -> None:
    """Let ``model`` forget the weights called ``names``, and the file that it was read from.

    A tensor that is left would keep all the bytes of its file in memory, so each is copied out.
    """
    import onnx_ir as ir

    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if name in names:
                value.const_value = None
            elif value.const_value is not None:
                value.const_value = _copied(value.const_value)
    for node in _nodes(model):
        for name, attribute in list(node.attributes.items()):
            if not attribute.is_ref() and attribute.type == ir.AttributeType.TENSOR:
                node.attributes[name] = ir.AttrTensor(name, _copied(attribute.as_tensor()))


def only_multiplied(model: "ir.Model") -> frozenset[str]:
    """The names of the values that only products read: there, rounding them changes no dtype."""
    products, others = set(), {value.name for value in model.graph.outputs}
    for node in _nodes(model):
        reads = {value.name for value in node.inputs if value is not None}
        if node.op_type in _PRODUCTS and node.domain in ("", "ai.onnx"):
            # A third input is a bias, which is added.
            products |= {value.name for value in node.inputs[:2] if value is not None}
            reads = {value.name for value in node.inputs[2:] if value is not None}
        others |= reads
    return frozenset(name for name in products - others if name)


def write_weights(folder: Path, weights: Mapping[str, Array]) -> None:
    """One file of bytes and one that says where each array lies in it."""
    contents = {}
    with (folder / _BYTES).open("wb") as file:
        for name, array in weights.items():
            file.write(bytes(-file.tell() % _ALIGNMENT))
            contents[name] = [file.tell(), array.dtype.name, list(array.shape)]
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    (folder / _CONTENTS).write_text(json.dumps(contents), encoding="utf-8")


def read_weights(folder: Path) -> dict[str, Array]:
    """The arrays that :func:`write_weights` wrote, mapped rather than read."""
    contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
    if not contents:
        return {}
    whole = np.memmap(folder / _BYTES, mode="r")
    return {name: _mapped(whole, *where) for name, where in contents.items()}


def _mapped(whole: Array, begin: int, dtype: str, shape: list[int]) -> Array:
    kind = np.dtype(dtype)
    end = begin + kind.itemsize * int(np.prod(shape, dtype=np.int64))
    return np.asarray(whole[begin:end]).view(kind).reshape(shape)


def _needed_beforehand(model: "ir.Model") -> set[str]:
    """The names of all values that lead to an input which a meaning wants on the host."""
    from lepton_ai.graph.bodies import graphs_of
    from lepton_ai.operators.operator import meanings

    table = meanings()
    makers: dict[str, list[str]] = {}
    wanted: list[str] = []
    for node in _nodes(model):
        reads = [value.name for value in node.inputs if value is not None and value.name]
        for body in graphs_of(node):
            inside = [value.name for value in (*body.inputs, *body.outputs) if value.name]
            # What a body is given and what it answers are the node's inputs and outputs by place;
            # taking all for each keeps more on the host than has to be, never less.
            for value in body.inputs:
                makers.setdefault(value.name or "", []).extend(reads)
            reads = [*reads, *inside]
        if node.op_type not in _ASK_SIZES_ONLY:
            for output in node.outputs:
                makers.setdefault(output.name or "", []).extend(reads)
        meaning = table.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
        if meaning is not None and meaning.host:
            wanted += [
                value.name
                for place, value in enumerate(node.inputs)
                if value is not None and value.name and meaning.parameter(place) in meaning.host
            ]
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted += makers.get(name, [])
    return found


def _nodes(model: "ir.Model") -> Iterator["ir.Node"]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _copied(tensor: "ir.TensorProtocol") -> "ir.TensorProtocol":
    import onnx_ir as ir

    if tensor.dtype == ir.DataType.STRING:
        return tensor
    return ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)


def _is_plain(dtype: Any) -> bool:
    kind = np.dtype(dtype)
    return kind.kind in _KINDS or kind.name == "bfloat16"
