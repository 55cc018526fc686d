"""Tensors on the wire: the protocol's data types, as JSON values and as raw bytes.

Raw bytes are little-endian and row-major; each element of ``BYTES`` is preceded by its length in
four bytes. JSON has no NaN and no infinities: they are written, and read, as the texts ``"NaN"``,
``"Infinity"`` and ``"-Infinity"``, as in the JSON mapping of Protocol Buffers.
"""

import json
import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import ml_dtypes
import numpy as np

from lepton_ai.model.signature import Array
from lepton_ai.serve.refusal import RefusalError

#: The protocol's data types and the dtypes of a :class:`~lepton_ai.model.signature.TensorSpec`.
DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BF16": "bfloat16",
    "BYTES": "str",
}
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
_LENGTH = struct.Struct("<I")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: By NumPy kind: the JSON types that are taken, and how to say so.
_JSON_KINDS: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "i": ({int}, "integers"),
    "u": ({int}, "integers"),
    "f": ({int, float, str}, "numbers"),
    "V": ({int, float, str}, "numbers"),
    "BYTES": ({str}, "texts"),
}
_SHOWN_CHARACTERS = 40


def datatype_of(array: Array) -> str:
    """The protocol's name for the data type of ``array``."""
    return "BYTES" if array.dtype.kind in "OUS" else DATATYPES[array.dtype.name]


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> Array:
    """The tensor ``name`` from JSON values, flat or nested as ``shape`` says.

    Raises:
        RefusalError: values of another kind, out of range, or not as many as the shape says.
    """
    values = _flat(name, shape, data)
    if len(values) != math.prod(shape):
        raise RefusalError(
            400,
            f"input {name!r} of shape {list(shape)} wants {math.prod(shape)} values, "
            f"and {len(values)} came",
        )
    _check_kind(name, datatype, values)
    try:
        return _array(datatype, values).reshape(shape)
    except OverflowError as failure:
        raise RefusalError(400, f"input {name!r} wants {datatype}: {failure}") from failure


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Array:
    """The tensor ``name`` from raw bytes.

    Raises:
        RefusalError: not as many bytes as the data type and shape say, or text that is not UTF-8.
    """
    if datatype == "BYTES":
        return _text_array(_split_texts(name, shape, raw)).reshape(shape)
    dtype = _numpy_dtype(datatype)
    wanted = math.prod(shape) * dtype.itemsize
    if len(raw) != wanted:
        raise RefusalError(
            400,
            f"input {name!r} of {datatype}{list(shape)} wants {wanted} bytes, and {len(raw)} came",
        )
    array = np.frombuffer(raw, dtype=_little_endian(dtype)).reshape(shape)
    return array.astype(dtype, copy=False)


def to_json(array: Array) -> list[Any]:
    """The values of ``array``, flat and in row-major order, all of them valid JSON."""
    if array.dtype.kind in "OUS":
        return [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
    if array.dtype.kind not in "fV":
        return array.reshape(-1).tolist()
    wide = array.reshape(-1).astype(np.float64)
    values: list[Any] = wide.tolist()
    for position in np.flatnonzero(~np.isfinite(wide)).tolist():
        values[position] = _word_of(values[position])
    return values


def to_bytes(array: Array) -> bytes:
    """The raw bytes of ``array``."""
    if array.dtype.kind in "OUS":
        items = [item if isinstance(item, bytes) else str(item).encode() for item in array.flat]
        return b"".join(_LENGTH.pack(len(item)) + item for item in items)
    return array.astype(_little_endian(array.dtype), copy=False).tobytes()


def jsonable(value: Any) -> Any:
    """``value`` with every NaN and infinity replaced by its word, at any depth."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return _word_of(value)
    return value


def _numpy_dtype(datatype: str) -> "np.dtype[Any]":
    return np.dtype(ml_dtypes.bfloat16 if datatype == "BF16" else DTYPES[datatype])


def _little_endian(dtype: "np.dtype[Any]") -> "np.dtype[Any]":
    return dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype


def _flat(name: str, shape: Sequence[int], data: Any) -> list[Any]:
    """The values of ``data`` in row-major order; nested lists have the lengths in ``shape``."""
    if not isinstance(data, list):
        raise RefusalError(400, f"input {name!r} wants a list of data, and {_describe(data)} came")
    if list not in set(map(type, data)):
        return data
    level: list[Any] = [data]
    for axis, size in enumerate(shape):
        wrong = next((v for v in level if not isinstance(v, list) or len(v) != size), None)
        if wrong is not None:
            came = f"{len(wrong)}" if isinstance(wrong, list) else _describe(wrong)
            raise RefusalError(
                400,
                f"input {name!r} of shape {list(shape)} wants lists of {size} on axis {axis}, "
                f"and {came} came",
            )
        level = list(chain.from_iterable(level))
    return level


def _check_kind(name: str, datatype: str, values: list[Any]) -> None:
    kind = "BYTES" if datatype == "BYTES" else _numpy_dtype(datatype).kind
    allowed, wanted = _JSON_KINDS[kind]
    wrong = [value for value in values if type(value) not in allowed]
    if str in allowed and kind != "BYTES":
        wrong += [value for value in values if isinstance(value, str) and value not in _WORDS]
    if wrong:
        raise RefusalError(
            400, f"input {name!r} of {datatype} wants {wanted}, and {_describe(wrong[0])} came"
        )


def _array(datatype: str, values: list[Any]) -> Array:
    if datatype == "BYTES":
        return _text_array(values)
    dtype = _numpy_dtype(datatype)
    if dtype.kind not in "fV":
        return np.array(values, dtype=dtype)
    if str in set(map(type, values)):
        values = [_WORDS.get(value, value) for value in values]
    wide = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    if np.any(np.isfinite(wide) & ~np.isfinite(narrow.astype(np.float64))):
        raise OverflowError("a value is out of its range")
    return narrow


def _split_texts(name: str, shape: Sequence[int], raw: bytes) -> list[str]:
    """The texts in ``raw``, each behind its length in four bytes."""
    texts: list[str] = []
    offset = 0
    try:
        while offset < len(raw):
            (length,) = _LENGTH.unpack_from(raw, offset)
            offset += _LENGTH.size
            if offset + length > len(raw):
                raise RefusalError(
                    400, f"input {name!r}: text {len(texts)} claims {length} bytes and has fewer"
                )
            texts.append(raw[offset : offset + length].decode())
            offset += length
    except struct.error as failure:
        raise RefusalError(400, f"input {name!r}: its last text has no length") from failure
    except UnicodeDecodeError as failure:
        raise RefusalError(400, f"input {name!r}: text {len(texts)} is not UTF-8") from failure
    if len(texts) != math.prod(shape):
        raise RefusalError(
            400,
            f"input {name!r} of shape {list(shape)} wants {math.prod(shape)} texts, "
            f"and {len(texts)} came",
        )
    return texts


def _text_array(texts: list[str]) -> Array:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _describe(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _word_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
