"""The Open Inference Protocol, version 2, over HTTP: request bodies in, response bodies out.

A body is JSON, or JSON followed by the raw bytes of the tensors that say so (the binary tensor data
extension); the header ``Inference-Header-Content-Length`` then gives the length of the JSON part.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from lepton_ai.bundle.net import Net
from lepton_ai.model.signature import Array, Arrays, Signature, TensorSpec
from lepton_ai.serve import tensors
from lepton_ai.serve.refusal import RefusalError

BINARY_HEADER = "inference-header-content-length"
EXTENSIONS = ["binary_tensor_data"]


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """One inference as asked for.

    ``outputs`` holds the names wanted, in order, each with whether it is wanted as raw bytes.
    """

    inputs: Arrays
    outputs: Mapping[str, bool]
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Body:
    """A response body; ``json_length`` is given where raw bytes follow the JSON part."""

    content: bytes
    json_length: int | None = None


def server_metadata() -> dict[str, Any]:
    """What the server is."""
    return {"name": "lepton", "version": version("lepton-ai"), "extensions": EXTENSIONS}


def model_metadata(net: Net) -> dict[str, Any]:
    """What a model takes and gives; a size that is free is -1."""
    return {
        "name": net.name,
        "versions": [net.manifest.version],
        "platform": f"lepton_{net.engine}",
        "inputs": [_describe(spec) for spec in net.signature.inputs],
        "outputs": [_describe(spec) for spec in net.signature.outputs],
    }


def decode_request(body: bytes, json_length: str | None, signature: Signature) -> InferRequest:
    """The inference asked for by a request body.

    ``json_length`` is the value of the header named in :data:`BINARY_HEADER`, if it came.

    Raises:
        RefusalError: the body does not follow the protocol; the message names the input.
    """
    split = _json_length(json_length, len(body))
    record = parse_object(body[:split])
    raw = _RawPart(body[split:])
    _field(record, "parameters", dict, {})
    inputs = _field(record, "inputs", list, None)
    if inputs is None:
        raise RefusalError(400, 'the request wants "inputs", a list of tensors, and none came')
    arrays: Arrays = {}
    for entry in inputs:
        name, array = _decode_input(entry, raw)
        if name in arrays:
            raise RefusalError(400, f"input {name!r} came twice")
        arrays[name] = array
    raw.check_spent()
    request_id = record.get("id")
    return InferRequest(
        inputs=arrays,
        outputs=_requested(record, signature),
        id=None if request_id is None else str(request_id),
    )


def encode_response(net: Net, request: InferRequest, outputs: Arrays) -> Body:
    """The response body with the outputs that ``request`` asks for."""
    entries, raws = [], []
    for name, binary in request.outputs.items():
        entry, raw = _encode_output(name, outputs[name], binary)
        entries.append(entry)
        raws.append(raw)
    record: dict[str, Any] = {
        "model_name": net.name,
        "model_version": net.manifest.version,
        "outputs": entries,
    }
    if request.id is not None:
        record["id"] = request.id
    text = json_bytes(record)
    if not any(request.outputs.values()):
        return Body(content=text)
    return Body(content=text + b"".join(raws), json_length=len(text))


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object in ``text``, or :class:`RefusalError`."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise RefusalError(400, f"the body is not valid JSON: {failure}") from failure
    if not isinstance(record, dict):
        raise RefusalError(400, f"the body wants a JSON object, and a {_kind(record)} came")
    return record


def json_bytes(record: Any) -> bytes:
    """``record`` as compact, valid JSON."""
    try:
        return json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    except (
        ValueError
    ):  # NaN or infinity somewhere: rare, so that only then every value is looked at
        return json_bytes(tensors.jsonable(record))


class _RawPart:
    """The bytes behind the JSON part, handed out in order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._offset = 0

    def take(self, name: str, size: Any) -> bytes:
        left = len(self._content) - self._offset
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= left:
            raise RefusalError(
                400,
                f"input {name!r} claims a binary_data_size of {size!r}, "
                f"and {left} bytes are left behind the JSON part",
            )
        self._offset += size
        return self._content[self._offset - size : self._offset]

    def check_spent(self) -> None:
        left = len(self._content) - self._offset
        if left:
            raise RefusalError(400, f"{left} bytes behind the JSON part belong to no input")


def _json_length(header: str | None, body_length: int) -> int:
    if header is None:
        return body_length
    if not (header.isascii() and header.isdigit()) or int(header) > body_length:
        raise RefusalError(
            400,
            f"Inference-Header-Content-Length wants a number up to the body's {body_length} "
            f"bytes, and {header!r} came",
        )
    return int(header)


def _decode_input(entry: Any, raw: _RawPart) -> tuple[str, Array]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise RefusalError(400, 'each input wants a JSON object with a "name"')
    name = entry["name"]
    datatype, shape = entry.get("datatype"), entry.get("shape")
    if datatype not in tensors.DTYPES:
        raise RefusalError(
            400, f"input {name!r} wants a datatype of {list(tensors.DTYPES)}, and {datatype!r} came"
        )
    if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        raise RefusalError(400, f"input {name!r} wants a shape of sizes, and {shape!r} came")
    parameters = _field(entry, "parameters", dict, {})
    _refuse_shared_memory(name, parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        return name, tensors.from_json(name, datatype, shape, entry.get("data"))
    if "data" in entry:
        raise RefusalError(400, f"input {name!r} has both data and a binary_data_size")
    return name, tensors.from_bytes(name, datatype, shape, raw.take(name, size))


def _requested(record: dict[str, Any], signature: Signature) -> dict[str, bool]:
    by_default = record.get("parameters", {}).get("binary_data_output", False)
    entries = _field(record, "outputs", list, None)
    if not entries:
        return dict.fromkeys(signature.output_names, _flag(by_default))
    wanted = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if name not in signature.output_names:
            raise RefusalError(
                400, f"the model gives the outputs {list(signature.output_names)}, not {name!r}"
            )
        parameters = _field(entry, "parameters", dict, {})
        _refuse_shared_memory(name, parameters)
        if parameters.get("classification"):
            raise RefusalError(400, f"output {name!r}: the classification extension is not spoken")
        wanted[name] = _flag(parameters.get("binary_data", by_default))
    return wanted


def _encode_output(name: str, array: Array, binary: bool) -> tuple[dict[str, Any], bytes]:
    entry: dict[str, Any] = {
        "name": name,
        "datatype": tensors.datatype_of(array),
        "shape": list(array.shape),
    }
    if not binary:
        return {**entry, "data": tensors.to_json(array)}, b""
    raw = tensors.to_bytes(array)
    return {**entry, "parameters": {"binary_data_size": len(raw)}}, raw


def _describe(spec: TensorSpec) -> dict[str, Any]:
    sizes = [-1] if spec.shape is None else [d if isinstance(d, int) else -1 for d in spec.shape]
    return {"name": spec.name, "datatype": tensors.DATATYPES[spec.dtype], "shape": sizes}


def _refuse_shared_memory(name: str, parameters: Mapping[str, Any]) -> None:
    if "shared_memory_region" in parameters:
        raise RefusalError(400, f"{name!r}: shared memory is not spoken; send the bytes")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise RefusalError(400, f"binary output wants true or false, and {value!r} came")
    return value


def _field(record: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = record.get(key, default)
    if value is not default and not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise RefusalError(400, f'"{key}" wants {wanted}, and a {_kind(value)} came')
    return value


def _kind(value: Any) -> str:
    return {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}.get(
        type(value), "number"
    )
