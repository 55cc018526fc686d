"""The functions that the gates of a recurrent cell may have."""

from collections.abc import Sequence

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.recurrence import GateFunction, Sequences

Floats = Sequence[float] | None
Texts = Sequence[str] | None

#: What an activation's alpha and beta are if they are not given; those without take none.
_ALPHA = {
    "affine": 1.0,
    "elu": 1.0,
    "hardsigmoid": 0.2,
    "leakyrelu": 0.01,
    "scaledtanh": 1.0,
    "thresholdedrelu": 1.0,
}
#: How many functions of a cell are gates': all but that of an LSTM's memory.
_GATED = 2
_BETA = {"affine": 0.0, "hardsigmoid": 0.5, "scaledtanh": 1.0}


def gate_functions(
    sequence: Sequences,
    names: Texts,
    defaults: Sequence[str],
    given: tuple[Floats, Floats],
    clip: float | None,
) -> list[GateFunction]:
    """The functions of all directions in order; each takes an alpha and a beta if it has them.

    ``clip`` bounds what goes into the gates. The last function of an LSTM is no gate's: what goes
    into it is the memory, which ONNX Runtime and OpenVINO leave alone.
    """
    xp = sequence.xp
    names = list(names or defaults)
    names = names * sequence.directions if len(names) == len(defaults) else names
    left, right = list(given[0] or ()), list(given[1] or ())
    found = []
    for place, name in enumerate(names):
        kind = name.lower()
        alpha = left.pop(0) if kind in _ALPHA and left else _ALPHA.get(kind, 0.0)
        beta = right.pop(0) if kind in _BETA and right else _BETA.get(kind, 0.0)
        function = _activation(xp, name, alpha, beta)
        found.append(_clipped(xp, function, clip) if place % len(defaults) < _GATED else function)
    return found


def _clipped(xp: Namespace, function: GateFunction, clip: float | None) -> GateFunction:
    if not clip:
        return function
    return lambda x: function(xp.clip(x, -clip, clip))


def _activation(xp: Namespace, name: str, alpha: float, beta: float) -> GateFunction:
    def zero(x: Tensor) -> Tensor:
        return xp.zeros_like(x)

    def positive(x: Tensor) -> Tensor:
        return xp.where(x > 0, x, zero(x))

    table: dict[str, GateFunction] = {
        "affine": lambda x: alpha * x + beta,
        "elu": lambda x: xp.where(x >= 0, x, alpha * xp.expm1(xp.where(x >= 0, zero(x), x))),
        "hardsigmoid": lambda x: xp.clip(alpha * x + beta, 0.0, 1.0),
        "leakyrelu": lambda x: xp.where(x >= 0, x, alpha * x),
        "relu": positive,
        "scaledtanh": lambda x: alpha * xp.tanh(beta * x),
        "sigmoid": lambda x: 1 / (1 + xp.exp(-x)),
        "softplus": lambda x: positive(x) + xp.log1p(xp.exp(-xp.abs(x))),
        "softsign": lambda x: x / (1 + xp.abs(x)),
        "tanh": xp.tanh,
        "thresholdedrelu": lambda x: xp.where(x > alpha, x, zero(x)),
    }
    if name.lower() not in table:
        raise EngineError(f"activation {name!r} is not known")
    return table[name.lower()]
