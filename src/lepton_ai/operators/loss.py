"""How far scores are from the classes that were meant."""

from typing import Any

from lepton_ai.errors import EngineError
from lepton_ai.operators.activation import log_softmax
from lepton_ai.operators.dtypes import FLOAT32, INT64, is_narrow
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, operator

_CLASSES = 1


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    call: Call,
    logarithms: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """What the logarithms [N, C, ...] lack at the ``target`` [N, ...], each class by its weight."""
    dtype = call.xp.dtype_of(logarithms)
    if is_narrow(dtype):
        logarithms = call.xp.cast(logarithms, FLOAT32)
        weight = None if weight is None else call.xp.cast(weight, FLOAT32)
    loss = _loss(call, logarithms, target, weight, ignore_index, reduction)
    return call.xp.cast(loss, dtype)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    call: Call,
    scores: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """The same loss of the scores' log-softmax over the classes, and that."""
    by_axis = _at_opset_13(call)
    logarithms = log_softmax(by_axis, scores, axis=_CLASSES)
    loss = negative_log_likelihood(
        call, logarithms, labels, weight, ignore_index=ignore_index, reduction=reduction
    )
    return loss, logarithms


def _at_opset_13(call: Call) -> Call:
    """The call as if of opset 13, where a softmax runs along one axis."""
    return Call(xp=call.xp, opset=13, outputs=1, evaluate=call.evaluate)


def _loss(
    call: Call,
    logarithms: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignored: int | None,
    reduction: str,
) -> Tensor:
    xp: Any = call.xp
    target = xp.cast(target, INT64)
    counts = target == target if ignored is None else target != ignored
    classes = xp.where(counts, target, xp.scalar(0, target))
    picked = xp.take_along_axis(logarithms, xp.expand_dims(classes, axis=_CLASSES), axis=_CLASSES)
    each = xp.cast(counts, xp.dtype_of(logarithms))
    if weight is not None:
        flat = xp.take(weight, xp.reshape(classes, (-1,)), axis=0)
        each = each * xp.reshape(flat, classes.shape)
    loss = xp.where(counts, -xp.squeeze(picked, axis=_CLASSES) * each, xp.scalar(0, each))
    if reduction == "none":
        return loss
    if reduction == "sum":
        return xp.sum(loss)
    if reduction != "mean":
        raise EngineError(f"reduction is 'none', 'sum' or 'mean', not {reduction!r}")
    return xp.sum(loss) / xp.sum(each)
