"""Raw data and a network's signature in, samples that the network can be fed with out."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lepton_ai.data.array_samples import ArraySamples
from lepton_ai.data.item_samples import ItemSamples
from lepton_ai.data.labels import encode_labels
from lepton_ai.data.raw import UNNAMED, RawData, check_finite
from lepton_ai.data.samples import Samples
from lepton_ai.errors import DataError
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import (
    Array,
    Arrays,
    Signature,
    TensorSpec,
    cast_within_kind,
    check_names,
)


def bind(raw: RawData, signature: Signature, processing: Processing | None) -> Samples:
    """The samples of ``raw`` as calls of the network that ``signature`` describes.

    An array with as many axes as its input has a batch axis in common with it, and a call takes
    ``[i:i+1]``, or as many rows as the network's first axis fixes; an array with one axis more
    gives each call the bare sample ``[i]``. Dtypes are cast within their kind, once for all.

    Raises:
        DataError: names, shapes or dtypes do not fit the network, or a label is none of its
            classes; the message says what was wanted and what came.
    """
    if not signature.inputs:
        raise DataError("the model takes no inputs, so there is nothing that data could change")
    labels = _labels(raw, signature, processing)
    items = _items(raw, signature, processing)
    samples: Samples
    if items is not None and processing is not None:
        samples = ItemSamples(
            items,
            processing=processing,
            signature=signature,
            per_call=_per_call(signature.inputs),
            labels=labels,
        )
    else:
        came = _named(raw, signature)
        if "labels" in signature.input_names and raw.arrays and "labels" not in raw.arrays:
            labels = None  # the network takes what stands under that name as an input
        samples = _bind_arrays(came, signature, labels)
    signature.check(next(samples.calls(range(min(samples.per_call, len(samples))))))
    return samples


def _items(
    raw: RawData, signature: Signature, processing: Processing | None
) -> Sequence[Any] | None:
    """What the processing is to be given: the items, or images that came as one array of bytes."""
    bare = (raw.arrays or {}).get(UNNAMED)
    wants_floats = signature.inputs[0].dtype != "uint8"
    if processing is not None and bare is not None and bare.dtype == np.uint8 and wants_floats:
        return list(bare)
    return raw.items


def _named(raw: RawData, signature: Signature) -> Arrays:
    """The arrays under the names of the network's inputs."""
    wanted = list(signature.input_names)
    came = dict(raw.arrays or {})
    if raw.items is not None:
        only = signature.inputs[0]
        if len(wanted) > 1 or only.dtype != "str":
            raise DataError(
                f"{raw.name} holds texts or images, and nothing says how they become the model's "
                f"inputs {wanted}; give a Hugging Face folder as the model, or the inputs "
                "themselves as arrays in an .npz file"
            )
        texts = np.empty(len(raw.items), dtype=object)
        texts[:] = raw.items
        rank = 1 if only.shape is None else max(1, len(only.shape))
        came = {UNNAMED: texts.reshape(-1, *[1] * (rank - 1))}
    if UNNAMED in came and len(wanted) == 1:
        came[wanted[0]] = came.pop(UNNAMED)
    if UNNAMED in came:
        raise DataError(
            f"the model takes the inputs {wanted}, and one array with no name came; "
            "give a mapping with one array per input"
        )
    if "labels" in wanted and raw.labels is not None:
        came.setdefault("labels", raw.labels)
    check_names(signature.input_names, came)
    return came


def _bind_arrays(came: Arrays, signature: Signature, labels: Array | None) -> ArraySamples:
    arrays = {spec.name: _cast(spec, came[spec.name]) for spec in signature.inputs}
    batched = [spec for spec in signature.inputs if _has_batch_axis(spec, arrays[spec.name])]
    per_call = _per_call(batched)
    if per_call > 1 and len(batched) < len(arrays):
        bare = [name for name in arrays if name not in {spec.name for spec in batched}]
        raise DataError(
            f"a call of this model takes {per_call} samples at once, and its inputs {bare} have no "
            "axis for them; export it with a batch size of 1 or with a free one"
        )
    names = frozenset(spec.name for spec in batched)
    return ArraySamples(arrays, batched=names, per_call=per_call, labels=labels)


def _cast(spec: TensorSpec, array: Array) -> Array:
    if spec.dtype == "str" and array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if spec.dtype == "bfloat16" and array.dtype == np.dtype("V2"):
        import ml_dtypes  # imported here because few models need it

        # NumPy's own file format stores bfloat16 as two bytes of no known meaning.
        array = array.view(ml_dtypes.bfloat16)
        check_finite(f"array {spec.name!r}", array)
        return array
    with np.errstate(over="ignore"):  # the finite check below says it in words
        cast = cast_within_kind(spec.name, spec.dtype, array)
    if cast is not array and cast.dtype.kind == "f":
        check_finite(f"array {spec.name!r}, as the model's {spec.dtype},", cast)
    return cast


def _has_batch_axis(spec: TensorSpec, array: Array) -> bool:
    if spec.shape is None:
        return True
    rank = len(spec.shape)
    if array.ndim not in (rank, rank + 1):
        wanted = f"{rank} or {rank + 1}" if rank else "1"
        raise DataError(
            f"input {spec} wants data with {wanted} axes, the first of them samples, and "
            f"{array.shape} came"
        )
    return array.ndim == rank


def _per_call(batched: Iterable[TensorSpec]) -> int:
    fixed = {
        spec.name: spec.shape[0]
        for spec in batched
        if spec.shape and isinstance(spec.shape[0], int)
    }
    if len(set(fixed.values())) > 1:
        told = ", ".join(f"{name!r} wants {size}" for name, size in fixed.items())
        raise DataError(
            f"the model's inputs disagree on how many samples a call holds: {told}; data with one "
            "axis more than an input gives each call one whole sample of it"
        )
    return max(1, *fixed.values()) if fixed else 1


def _labels(raw: RawData, signature: Signature, processing: Processing | None) -> Array | None:
    if raw.labels is None:
        return None
    names: tuple[str, ...] = getattr(processing, "label_names", ())
    answers_in_text = any(spec.dtype == "str" for spec in signature.outputs)
    if answers_in_text and not names and raw.labels.dtype.kind == "U":
        return raw.labels
    return encode_labels(raw.labels, source_names=raw.label_names, model_names=names)
