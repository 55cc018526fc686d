"""A Pad of a Pad."""

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.matching.chains.chain import Chain, row, sole_reader
from lepton_ai.graph.values.operands import is_standard, numbers, operand
from lepton_ai.model.signature import Array


def merge(chain: Chain) -> bool:
    """Pad once by the sum, if both pad outwards by the same number."""
    if not is_standard(chain.before, "Pad") or chain.opset < 11:
        return False
    first, second = (_outwards(node) for node in (chain.before, chain.node))
    if first is None or second is None or len(first) != len(second):
        return chain.miss("one of them does not pad every axis by a constant")
    if not np.array_equal(_fill(chain.before), _fill(chain.node)):
        return chain.miss("they pad by different numbers")
    if sole_reader(chain.before.outputs[0]) is not chain.node:
        return chain.miss("what lies between is read elsewhere")
    if not chain.fire("both pad by the same number"):
        return False
    pads = [a + b for a, b in zip(first, second, strict=True)]
    chain.node.replace_input_with(1, row(chain.node, "pads", pads))
    chain.read(chain.source)
    return True


def _outwards(node: ir.Node) -> list[int] | None:
    mode = node.attributes.get_string("mode", "constant")
    pads = numbers(node, "pads", 1)
    if mode != "constant" or operand(node, 3) is not None or pads is None or min(pads) < 0:
        return None
    return pads


def _fill(node: ir.Node) -> Array:
    given = operand(node, 2)
    if given is None:
        return np.zeros(())
    held = constant_of(given, 1)
    # What is computed is never the same for sure.
    return np.full((), np.nan) if held is None else held.reshape(()).astype(np.float64)
