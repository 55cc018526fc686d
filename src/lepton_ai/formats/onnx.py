"""ONNX files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from lepton_ai.errors import ModelError
from lepton_ai.formats.format import Format
from lepton_ai.formats.onnx_graph import check_graph
from lepton_ai.formats.onnx_operators import check_dtypes, check_operators
from lepton_ai.formats.onnx_outputs import keep_outputs, unzip_scores
from lepton_ai.formats.onnx_signature import read_signature
from lepton_ai.formats.onnx_weights import check_sizes, gather_weights
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays

#: Protobuf cannot parse a longer message.
_LARGEST = 2**31 - 1


class Onnx(Format):
    """An ``.onnx`` file, with its weights in it or beside it."""

    name = "onnx"
    takes = "an .onnx file"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a path to a file, or is called like an ONNX file."""
        if not isinstance(source, str | Path):
            return False
        return Path(source).suffix.lower() == ".onnx" or Path(source).is_file()

    def read(self, source: Any, folder: Path, example: Arrays | None) -> Model:
        """Check the file and copy it, in one piece where it is below 2 GB, into ``folder``."""
        path = Path(source)
        with _about(path):
            proto = _parse(path)
            _check_version(proto)
            notes = check_graph(proto)
            check_operators(proto)
            gather_weights(proto, path.parent, folder)
            check_sizes(proto)
            _declare_outputs(proto)
            unzipped = unzip_scores(proto)
            signature, left_out = read_signature(proto.graph)
            check_dtypes(proto)
            keep_outputs(proto.graph, signature.output_names)
        target = folder / "model.onnx"
        _write(proto, target)
        return Model(
            name=path.stem, path=target, signature=signature, notes=notes + unzipped + left_out
        )


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Begin every complaint with the file that it is about."""
    try:
        yield
    except ModelError as failure:
        raise ModelError(f"{path}: {failure}") from failure
    except (AttributeError, TypeError, ValueError) as failure:  # text that is none, lost fields
        raise ModelError(f"{path}: the file is damaged: {failure}") from failure


def _parse(path: Path) -> ModelProto:
    if not path.exists():
        raise ModelError("no such file is here")
    if path.is_dir():
        raise ModelError("an ONNX file was wanted, and this is a folder")
    size = path.stat().st_size
    if size == 0:
        raise ModelError("the file is empty")
    if size > _LARGEST:
        raise ModelError("the file is above 2 GiB; save it with its weights as external data")
    try:
        proto: ModelProto = ModelProto.FromString(path.read_bytes())
    except DecodeError:
        raise ModelError("this is no ONNX model, or one that was cut short") from None
    except OSError as failure:
        raise ModelError(f"the file cannot be read: {failure.strerror}") from failure
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError("this is no ONNX model, or one that was cut short: it has no graph")
    if not proto.graph.node:
        raise ModelError("the graph has no operators, so it computes nothing")
    return proto


def _check_version(proto: ModelProto) -> None:
    if proto.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"the file is of IR version {proto.ir_version}; up to {onnx.IR_VERSION} can be read"
        )


def _declare_outputs(proto: ModelProto) -> None:
    """Infer the types of outputs that are declared without one."""
    bare = [value for value in proto.graph.output if not _typed(value)]
    if not bare or proto.ByteSize() > _LARGEST:
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = proto
    types = {value.name: value for value in inferred.graph.output if _typed(value)}
    for value in bare:
        if value.name not in types:
            raise ModelError(f"output {value.name!r} is declared without a dtype; export again")
        value.type.CopyFrom(types[value.name].type)


def _typed(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or value.type.tensor_type.elem_type != 0)


def _write(proto: ModelProto, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(proto.SerializeToString())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
