"""Weights that lie beside an ONNX file."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import load_external_data_for_tensor

from lepton_ai.errors import ModelError
from lepton_ai.formats.onnx_graph import subgraphs

#: Protobuf messages end at 2 GiB; a little below, for the graph around the weights.
FOLD_LIMIT = 2_000_000_000


def gather_weights(model: ModelProto, beside: Path, folder: Path) -> None:
    """Fold external weights into ``model``, or copy their files to ``folder`` where too large.

    ``beside`` is the folder that the model's file lies in.

    Raises:
        ModelError: a weight file is missing, too short, or outside ``beside``.
    """
    external = [tensor for tensor in all_tensors(model) if is_external(tensor)]
    sizes = [_check_location(tensor, beside) for tensor in external]
    if model.ByteSize() + sum(sizes) < FOLD_LIMIT:
        for tensor in external:
            load_external_data_for_tensor(tensor, str(beside))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        return
    for location in {_entry(tensor, "location") for tensor in external}:
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(beside / location)):
            shutil.copyfile(beside / location, target)


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
        length = int(_entry(tensor, "length", str(max(size - offset, 0))))
    except ValueError:
        raise ModelError(f"where the weights of {tensor.name!r} lie in {path} is garbled") from None
    if offset + length > size:
        raise ModelError(
            f"{path} is cut short: {tensor.name!r} ends at byte {offset + length}, and the file "
            f"has {size}; copy it again"
        )
    return length
