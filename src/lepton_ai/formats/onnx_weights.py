"""Weights that lie beside an ONNX file."""

import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import load_external_data_for_tensor
from onnx_ir import DataType

from lepton_ai.errors import ModelError
from lepton_ai.formats.onnx_graph import all_nodes, called, subgraphs

#: Protobuf messages end at 2 GiB; a little below, for the graph around the weights.
FOLD_LIMIT = 2_000_000_000


def gather_weights(model: ModelProto, beside: Path, folder: Path) -> None:
    """Fold external weights into ``model``, or copy their files to ``folder`` where too large.

    ``beside`` is the folder that the model's file lies in.

    Raises:
        ModelError: a weight file is missing, too short, or outside ``beside``.
    """
    external = [tensor for tensor in all_tensors(model) if is_external(tensor)]
    sizes = []
    for tensor in external:
        try:
            sizes.append(_check_location(tensor, beside))
        except ModelError as failure:
            raise ModelError(f"{failure}{_reader(model, tensor.name)}") from None
    if model.ByteSize() + sum(sizes) < FOLD_LIMIT:
        for tensor, size in zip(external, sizes, strict=True):
            if not _entry(tensor, "length"):
                tensor.external_data.add(key="length", value=str(size))
            load_external_data_for_tensor(tensor, str(beside))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        return
    for location in {_entry(tensor, "location") for tensor in external}:
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(beside / location)):
            shutil.copyfile(beside / location, target)


def check_sizes(model: ModelProto) -> None:
    """Refuse a weight of no dtype, or whose values are not as many as its shape says.

    Raises:
        ModelError: names the weight and a node that reads it.
    """
    for tensor in all_tensors(model):
        if tensor.data_type not in TensorProto.DataType.values()[1:]:
            raise ModelError(
                f"the weights {tensor.name!r} are of no known dtype ({tensor.data_type})"
                f"{_reader(model, tensor.name)}"
            )
        wanted = _wanted_bytes(tensor)
        if wanted is None or is_external(tensor):
            continue
        if tensor.HasField("raw_data"):
            unit, came = "bytes", len(tensor.raw_data)
        else:
            unit, wanted, came = _listed(tensor, wanted)
        if wanted != came:
            raise ModelError(
                f"the weights {tensor.name!r} want {wanted} {unit} for shape {list(tensor.dims)}, "
                f"and {came} are there{_reader(model, tensor.name)}"
            )


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's values lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every constant in the model: initialisers and attributes, subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in subgraphs(node):
            yield from _graph_tensors(inner)


def _wanted_bytes(tensor: TensorProto) -> int | None:
    """The bytes that the tensor's shape and dtype ask for; ``None`` for text and the unknown."""
    try:
        bits = DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError):
        return None
    return math.ceil(int(math.prod(tensor.dims)) * bits / 8)


def _listed(tensor: TensorProto, wanted: int) -> tuple[str, int, int]:
    """What is counted of values in a list, how many are wanted, and how many are there."""
    elements = math.prod(tensor.dims)
    pairs = 2 * elements
    for values, count in (
        (tensor.float_data, pairs if tensor.data_type == TensorProto.COMPLEX64 else elements),
        (tensor.double_data, pairs if tensor.data_type == TensorProto.COMPLEX128 else elements),
        (tensor.int64_data, elements),
        (tensor.uint64_data, elements),
        # Those narrower than a byte are packed, a byte in each number.
        (tensor.int32_data, min(elements, wanted)),
    ):
        if values:
            return "values", count, len(values)
    return "values", elements, 0


def _reader(model: ModelProto, name: str) -> str:
    """Who reads the weight ``name``, to end a sentence with."""
    readers = (node for node in all_nodes(model.graph.node) if name and name in node.input)
    node = next(readers, None)
    return "" if node is None else f" (read by {called(node)})"


def _entry(tensor: TensorProto, key: str, default: str = "") -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == key), default)


def _check_location(tensor: TensorProto, beside: Path) -> int:
    """The bytes that the tensor takes in its file."""
    location = _entry(tensor, "location")
    parts = PurePosixPath(location)
    if (
        not location
        or parts.is_absolute()
        or ".." in parts.parts
        or PureWindowsPath(location).drive
    ):
        raise ModelError(
            f"the weights of {tensor.name!r} are said to lie at {location!r}, outside the model's "
            "own folder, and are not read from there"
        )
    path = beside / location
    if not path.is_file():
        raise ModelError(
            f"the weights of {tensor.name!r} should lie in {path}, which is missing; copy it "
            "beside the model"
        )
    if not path.resolve().is_relative_to(beside.resolve()):
        raise ModelError(f"{path} points outside the model's own folder and is not read")
    size = path.stat().st_size
    try:
        offset = int(_entry(tensor, "offset", "0"))
        length = int(_entry(tensor, "length", str(_rest(tensor, size - offset))))
    except ValueError:
        raise ModelError(f"where the weights of {tensor.name!r} lie in {path} is garbled") from None
    wanted = _wanted_bytes(tensor)
    if wanted is not None and wanted != length:
        raise ModelError(
            f"the weights {tensor.name!r} want {wanted} bytes for shape {list(tensor.dims)}, and "
            f"{length} are set aside for them in {path}"
        )
    if offset + length > size:
        raise ModelError(
            f"{path} is cut short: {tensor.name!r} ends at byte {offset + length}, and the file "
            f"has {size}; copy it again"
        )
    return length


def _rest(tensor: TensorProto, left: int) -> int:
    """The bytes of a tensor whose length is not told: what it wants, or all that is left."""
    wanted = _wanted_bytes(tensor)
    return max(left, 0) if wanted is None else wanted
