"""A few calls with the answers they must give, as ``.npz`` files with no pickle in them.

Each file holds one plain array per tensor, ``t0``, ``t1``, …, and an ``index`` that gives the call,
name, dtype and shape of each. Text is stored as UTF-8 JSON, and a dtype that NumPy lacks (bfloat16)
as its raw bytes, so that every dtype survives the trip.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.errors import BundleError
from lepton_ai.model.signature import Array, Arrays

_NATIVE_KINDS = "biuf"


def encode_calls(calls: Sequence[Arrays]) -> bytes:
    """The bytes of an ``.npz`` file that holds ``calls``; the inverse of :func:`decode_calls`."""
    index: list[dict[str, Any]] = []
    stored: dict[str, Array] = {}
    for number, call in enumerate(calls):
        for name, value in call.items():
            dtype, flat = _flatten(np.asarray(value))
            stored[f"t{len(index)}"] = flat
            shape = list(np.shape(value))
            index.append({"call": number, "name": name, "dtype": dtype, "shape": shape})
    header = {"calls": len(calls), "tensors": index}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, index=_text_bytes(header), **stored)
    return buffer.getvalue()


def decode_calls(content: bytes) -> list[Arrays]:
    """The calls in an ``.npz`` file written by :func:`encode_calls`.

    Raises:
        BundleError: the content is not such a file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            header = json.loads(stored["index"].tobytes())
            calls: list[Arrays] = [{} for _ in range(header["calls"])]
            for position, entry in enumerate(header["tensors"]):
                array = _unflatten(stored[f"t{position}"], entry["dtype"])
                calls[entry["call"]][entry["name"]] = array.reshape(entry["shape"])
            return calls
    except Exception as failure:  # zip, NumPy and JSON each fail in their own ways
        raise BundleError(
            f"the golden calls cannot be read ({failure}); make the bundle anew"
        ) from failure


def _flatten(array: Array) -> tuple[str, Array]:
    if array.dtype.kind in "OUS":
        return "str", _text_bytes([_as_text(item) for item in array.reshape(-1).tolist()])
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind in _NATIVE_KINDS:
        return flat.dtype.name, flat
    return flat.dtype.name, np.frombuffer(flat.tobytes(), dtype=np.uint8)


def _unflatten(flat: Array, dtype: str) -> Array:
    if dtype == "str":
        texts = json.loads(flat.tobytes())
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
        return array
    if flat.dtype.name == dtype:
        return flat
    return np.frombuffer(flat.tobytes(), dtype=_foreign_dtype(dtype))


def _foreign_dtype(name: str) -> "np.dtype[Any]":
    import ml_dtypes  # imported here because few models need it

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def _as_text(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _text_bytes(value: Any) -> Array:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
