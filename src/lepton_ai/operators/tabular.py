"""What comes before a model of tables: scaling, filling gaps, categories as numbers."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, is_floating
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, operator
from lepton_ai.operators.placing import looked_at

TABULAR = "ai.onnx.ml"
Host = np.ndarray[Any, Any]

tabular = partial(operator, domain=TABULAR)


@tabular("Scaler")
def scaler(
    call: Call, x: Tensor, *, offset: Sequence[float] = (0.0,), scale: Sequence[float] = (1.0,)
) -> Tensor:
    """``(x - offset) * scale``, of one number for all or of one for each column."""
    wide = _in_floats(call, x)
    return (wide - _constants(call, offset, wide)) * _constants(call, scale, wide)


@tabular("Normalizer")
def normalizer(call: Call, x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Each row divided by its norm; a row of zeros stays one."""
    xp, wide = call.xp, _in_floats(call, x)
    if norm == "MAX":
        size = xp.max(xp.abs(wide), axis=-1, keepdims=True)
    elif norm == "L1":
        size = xp.sum(xp.abs(wide), axis=-1, keepdims=True)
    elif norm == "L2":
        size = xp.sqrt(xp.sum(wide * wide, axis=-1, keepdims=True))
    else:
        raise EngineError(f"norm {norm!r} is not known, only MAX, L1 and L2")
    return wide / xp.where(size == 0, xp.scalar(1, size), size)


@tabular("Imputer")
def imputer(
    call: Call,
    x: Tensor,
    *,
    imputed_value_floats: Sequence[float] = (),
    imputed_value_int64s: Sequence[int] = (),
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """One value, perhaps NaN, replaced by another for each column."""
    xp = call.xp
    floating = is_floating(xp.dtype_of(x))
    gap = replaced_value_float if floating else replaced_value_int64
    filling = imputed_value_floats if floating else imputed_value_int64s
    if not filling:
        raise EngineError(f"it has nothing to put in the gaps of {xp.dtype_of(x)}")
    missing = xp.isnan(x) if gap != gap else x == gap
    return xp.where(missing, _constants(call, filling, x), x)


@tabular("Binarizer")
def binarizer(call: Call, x: Tensor, *, threshold: float = 0.0) -> Tensor:
    """One above the threshold, zero up to it."""
    return call.xp.cast(x > threshold, call.xp.dtype_of(x))


@tabular("ArrayFeatureExtractor")
def array_feature_extractor(call: Call, x: Tensor, columns: Tensor) -> Tensor:
    """Some of the columns."""
    rows = call.xp.reshape(x, (1, -1)) if x.ndim == 1 else x
    return call.xp.take(rows, call.xp.reshape(columns, (-1,)), axis=-1)


@tabular("FeatureVectorizer")
def feature_vectorizer(call: Call, *inputs: Tensor, inputdimensions: Sequence[int] = ()) -> Tensor:
    """The columns of all inputs side by side, in float32."""
    xp = call.xp
    rows = [xp.reshape(x, (x.shape[0], -1)) for x in inputs]
    if inputdimensions:
        rows = [x[:, :width] for x, width in zip(rows, inputdimensions, strict=True)]
    return xp.concat([xp.cast(x, FLOAT32) for x in rows], axis=1)


@tabular("OneHotEncoder")
def one_hot_encoder(
    call: Call,
    x: Tensor,
    *,
    cats_int64s: Sequence[int] = (),
    cats_strings: Sequence[str] = (),
    zeros: int = 1,
) -> Tensor:
    """A one at the place of the category, zeros elsewhere, and everywhere if it is not listed."""
    xp = call.xp
    if cats_strings:
        found = np.asarray(x)[..., None] == np.array(cats_strings, object)
    else:
        found = x[..., None] == _constants(call, cats_int64s, x)
    hot = xp.cast(found, FLOAT32)
    unlisted = None if zeros else looked_at(xp, xp.any(hot == 1, axis=-1))
    if unlisted is not None and not unlisted.all():
        raise EngineError("a value is in none of the categories")
    return hot


@tabular("LabelEncoder")
def label_encoder(
    call: Call,
    x: Tensor,
    *,
    classes_strings: Sequence[str] = (),
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: Host | None = None,
    keys_floats: Sequence[float] = (),
    keys_int64s: Sequence[int] = (),
    keys_strings: Sequence[str] = (),
    keys_tensor: Host | None = None,
    values_floats: Sequence[float] = (),
    values_int64s: Sequence[int] = (),
    values_strings: Sequence[str] = (),
    values_tensor: Host | None = None,
) -> Tensor:
    """Each value by another, as listed; one that is not listed by the default."""
    if classes_strings:
        defaults = {"default_int64": default_int64, "default_string": default_string}
        return category_mapper(
            call,
            x,
            cats_strings=classes_strings,
            cats_int64s=list(range(len(classes_strings))),
            **defaults,
        )
    keys = _listed(keys_tensor, (keys_floats, keys_int64s, keys_strings))
    values = _listed(values_tensor, (values_floats, values_int64s, values_strings))
    default: Any = {"f": default_float, "i": default_int64, "O": default_string}[values.dtype.kind]
    if default_tensor is not None:
        default = default_tensor.reshape(-1)[0]
    return _mapped(call, x, keys, values, default)


@tabular("CategoryMapper")
def category_mapper(
    call: Call,
    x: Tensor,
    *,
    cats_int64s: Sequence[int],
    cats_strings: Sequence[str],
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> Tensor:
    """Texts as their numbers, or numbers as their texts."""
    numbers, texts = np.array(cats_int64s, np.int64), np.array(cats_strings, object)
    if call.xp.dtype_of(x).kind == "O":
        return _mapped(call, x, texts, numbers, default_int64)
    return _mapped(call, x, numbers, texts, default_string)


def _listed(tensor: Host | None, lists: tuple[Sequence[Any], ...]) -> Host:
    """The keys or values that are given, in whichever way."""
    if tensor is not None:
        return tensor.reshape(-1)
    for dtype, given in zip((np.float32, np.int64, object), lists, strict=True):
        if given:
            return np.array(given, dtype)
    return np.zeros((0,), np.int64)


def _mapped(call: Call, x: Tensor, keys: Host, values: Host, default: Any) -> Tensor:
    if keys.dtype.kind == "O" or values.dtype.kind == "O":
        try:
            texts = call.xp.to_host(x)
        except ValueError as failure:
            raise EngineError("texts cannot be traced") from failure
        return _by_table(
            texts, dict(zip(keys.tolist(), values.tolist(), strict=True)), values, default
        )
    xp, order = call.xp, np.argsort(keys, kind="stable")
    default_ = xp.from_host(np.asarray(default, values.dtype))
    if not len(keys):
        return xp.broadcast_to(default_, x.shape)
    # NaN is sorted last, and found where the search runs past the end.
    ordered, there = xp.from_host(keys[order]), xp.from_host(values[order])
    places = xp.searchsorted(ordered, xp.reshape(x, (-1,)))
    last = xp.scalar(len(keys) - 1, places)
    places = xp.reshape(xp.minimum(places, last), x.shape)
    found = ordered[places]
    equal = found == x
    if is_floating(keys.dtype):
        equal = xp.logical_or(equal, xp.logical_and(found != found, x != x))
    return xp.where(equal, there[places], default_)


def _by_table(x: Host, table: Mapping[Any, Any], values: Host, default: Any) -> Host:
    found = [table.get(one, default) for one in x.reshape(-1).tolist()]
    return np.array(found, values.dtype).reshape(x.shape)


@tabular("ZipMap", host=("x",))
def zip_map(
    call: Call,
    x: Host,
    *,
    classlabels_int64s: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
) -> list[dict[Any, float]]:
    """Each row as a dictionary of its numbers by their labels."""
    labels = list(classlabels_strings or classlabels_int64s)
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    return [dict(zip(labels, row, strict=True)) for row in rows.tolist()]


def _in_floats(call: Call, x: Tensor) -> Tensor:
    return call.xp.cast(x, FLOAT32)


def _constants(call: Call, numbers: Sequence[Any], like: Tensor) -> Tensor:
    """The numbers as an array of the dtype of ``like``."""
    return call.xp.from_host(np.array(numbers, call.xp.dtype_of(like)))
