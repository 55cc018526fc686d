"""The names, dtypes and shapes that go into a network and come out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ai.errors import DataError

Array = NDArray[Any]
Arrays = dict[str, Array]
Dim = int | str


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output.

    ``dtype`` is a NumPy dtype name, or ``"str"`` or ``"bfloat16"``. A dimension is a fixed size or
    the name of a symbolic one; dimensions that share a name share their size within a call.
    ``shape`` is ``None`` where even the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else "[" + ", ".join(map(str, self.shape)) + "]"
        return f"{self.name}: {self.dtype}{shape if self.shape is not None else ' of ' + shape}"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "dtype": self.dtype, "shape": shape}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "TensorSpec":
        """The inverse of :meth:`to_json`."""
        shape = record["shape"]
        return cls(
            name=record["name"],
            dtype=record["dtype"],
            shape=None if shape is None else tuple(shape),
        )


@dataclass(frozen=True, kw_only=True)
class Signature:
    """All inputs and outputs of a network, in its own order and under its own names."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return tuple(spec.name for spec in self.outputs)

    def check(self, arrays: Mapping[str, Any]) -> Arrays:
        """The arrays of one call, checked and cast within their kind (float64 to float32).

        Raises:
            DataError: a name is missing or unknown, or a shape or dtype does not fit; the message
                says which, what was wanted and what came.
        """
        check_names(self.input_names, arrays)
        sizes: dict[str, tuple[int, str]] = {}
        return {spec.name: _check_one(spec, arrays[spec.name], sizes) for spec in self.inputs}

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Signature":
        """The inverse of :meth:`to_json`."""
        return cls(
            inputs=tuple(TensorSpec.from_json(spec) for spec in record["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in record["outputs"]),
        )


def check_names(wanted: tuple[str, ...], came: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` unless ``came`` has exactly the names ``wanted``."""
    missing = [name for name in wanted if name not in came]
    unknown = [name for name in came if name not in wanted]
    if missing or unknown:
        raise DataError(
            f"the model takes the inputs {list(wanted)}, and {list(came)} came"
            + (f"; missing: {missing}" if missing else "")
            + (f"; unknown: {unknown}" if unknown else "")
        )


def cast_within_kind(name: str, wanted: str, array: Array) -> Array:
    """``array`` in dtype ``wanted`` if only the width differs.

    Raises:
        DataError: the kind differs (an integer where a float is wanted), or a value does not fit.
    """
    if wanted == "str":
        if array.dtype.kind not in "USO":
            raise DataError(f"input {name!r} wants text, and {array.dtype} came")
        return array.astype(object)
    if wanted == "bfloat16":
        import ml_dtypes  # imported here because few models need it

        target = np.dtype(ml_dtypes.bfloat16)
        if array.dtype == target or array.dtype.kind == "f":
            return array.astype(target)
        raise DataError(f"input {name!r} wants bfloat16, and {array.dtype} came")
    target = np.dtype(wanted)
    if array.dtype == target:
        return array
    integers = array.dtype.kind in "iu" and target.kind in "iu"
    if not integers and array.dtype.kind != target.kind:
        raise DataError(f"input {name!r} wants {wanted}, and {array.dtype} came")
    cast = array.astype(target)
    if integers and not np.array_equal(cast, array):
        raise DataError(f"input {name!r} wants {wanted}, and a value of {array.dtype} is out of it")
    return cast


def _check_one(spec: TensorSpec, value: Any, sizes: dict[str, tuple[int, str]]) -> Array:
    array = cast_within_kind(spec.name, spec.dtype, np.asarray(value))
    if spec.shape is None:
        return array
    if array.ndim != len(spec.shape):
        raise DataError(f"input {spec} wants {len(spec.shape)} axes, and {array.shape} came")
    for axis, (wanted, size) in enumerate(zip(spec.shape, array.shape, strict=True)):
        if isinstance(wanted, int) and wanted != size:
            raise DataError(f"input {spec}: axis {axis} wants {wanted}, and {array.shape} came")
        if isinstance(wanted, str):
            held, holder = sizes.setdefault(wanted, (size, spec.name))
            if held != size:
                raise DataError(
                    f"inputs {holder!r} and {spec.name!r} share the size {wanted!r}, "
                    f"and {held} and {size} came"
                )
    return array
