"""Whether two engines answer alike, up to what their dtypes and precision allow."""

from collections.abc import Sequence

from lepton_ai.graph.gate import check_equal
from lepton_ai.model.signature import Array, Arrays

#: What another engine's kernels may change, of an output's largest value. Rewriting a graph for one
#: engine may reorder sums, which comes to 1e-4 in float32 (:data:`lepton_ai.graph.gate.RTOL` counts
#: the roundings). Another engine has besides its own approximations of exp, erf and tanh (a few
#: units in the last place each), and its own algorithms for convolutions (Winograd's adds a digit):
#: ten times that. In float64 nobody approximates. Sixteen bits are rounded after every node by some
#: engines and after a fused group of them by others: the gate's own numbers, twice over.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
#: A float32 graph that is computed in another precision is held to what that precision rounds.
PRECISIONS = {"fp16": 2e-2, "bf16": 1e-1}


def difference(
    wanted: Sequence[Arrays],
    answers: Sequence[Arrays],
    precision: str = "fp32",
    rtol: float | None = None,
) -> str:
    """Why ``answers`` are not ``wanted``; empty if they are, up to what the dtype allows."""
    if not wanted or [list(a) for a in wanted] != [list(a) for a in answers]:
        came = [list(answer) for answer in answers[:1]]
        return f"the outputs {list(wanted[0]) if wanted else []} were wanted, and {came} came"
    for name in wanted[0]:
        mine, theirs = ([{name: answer[name]} for answer in side] for side in (wanted, answers))
        kind = str(mine[0][name].dtype)
        if precision in PRECISIONS and not _is_float(mine[0][name]):
            # Rounding may well move the largest of two that are close, and with it an index.
            mine, theirs = ([{name: a[name] * 0} for a in side] for side in (mine, theirs))
        allowed = max(TOLERANCES.get(kind, 0.0), PRECISIONS.get(precision, 0.0), rtol or 0.0)
        verdict = check_equal(mine, theirs, rtol=allowed)
        if not verdict.equal:
            return verdict.why
    return ""


def _is_float(array: Array) -> bool:
    # bfloat16 and its like are foreign to NumPy, which files them under kind "V".
    return array.dtype.kind in "fcV"
