"""The same operator twice: the second undoes the first, or has nothing left to do."""

from lepton_ai.graph.matching.chains.chain import Chain
from lepton_ai.graph.values.operands import is_standard

#: Twice is not at all.
UNDOES_ITSELF = ("Neg", "Not")
#: Twice is once.
SETTLES = ("Abs", "Ceil", "Floor", "Round", "Sign")


def merge(chain: Chain) -> bool:
    """Drop both, or the second."""
    if not is_standard(chain.before, chain.node.op_type):
        return False
    if chain.node.op_type in UNDOES_ITSELF:
        return chain.hand_on(chain.source, f"its two {chain.node.op_type} cancel")
    return chain.hand_on(chain.before.outputs[0], f"a second {chain.node.op_type} changes nothing")
