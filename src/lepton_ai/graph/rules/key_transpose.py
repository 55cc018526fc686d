"""Two axes swapped by way of fewer axes, as one transposition."""

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.products import only_reader
from lepton_ai.graph.matching.rewiring import remove_dead
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import Sizes, all_known


class KeyTranspose(Rule):
    """PyTorch exports attention's keys flattened to three axes, transposed, and unflattened."""

    name = "key-transpose"
    requires = (
        "a Reshape joins the leading axes, a Transpose swaps the last two and a Reshape parts the "
        "leading ones again as they were"
    )
    ensures = "one Transpose does it, together with one right before it"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Join every such swap."""
        known = None
        for graph in model.graphs():
            for node in graph:
                nodes = _swap(node)
                if nodes is not None:
                    known = known or KnownSizes(model)
                    _join(nodes, known, ledger)


def _swap(node: ir.Node) -> tuple[ir.Node, ir.Node, ir.Node] | None:
    """The Reshape before ``node``, ``node`` and the one behind it."""
    if node.op_type != "Transpose" or node.domain != "":
        return None
    if list(node.attributes.get_ints("perm", ())) != [0, 2, 1]:
        return None
    read = node.inputs[0]
    before = None if read is None else read.producer()
    after = only_reader(node.outputs[0])
    if before is None or after is None or read is None or only_reader(read) is not node:
        return None
    if before.op_type != "Reshape" or after.op_type != "Reshape":
        return None
    return (before, node, after) if after.inputs[0] is node.outputs[0] else None


def _join(nodes: tuple[ir.Node, ...], known: KnownSizes, ledger: Ledger) -> None:
    before, _, after = nodes
    x = before.inputs[0]
    shape = all_known(known.shape(x))
    joined, parted = known.shape(before.outputs[0]), known.shape(after.outputs[0])
    if x is None or shape is None or not _swaps(shape, joined, parted):
        ledger.miss(nodes, "the sizes do not prove that the same axes come back")
        return
    if not ledger.fire(str(after.outputs[0].name), nodes, "swaps two axes, by way of three"):
        return
    rank = len(shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    wanted = [before.inputs[1], after.inputs[1]]
    swap = ir.node("Transpose", [x], {"perm": order})
    replace(nodes, [swap], after)
    remove_dead(*(value.producer() for value in wanted if value is not None))
    _absorb(swap, order)


def _swaps(shape: Sizes, joined: Sizes | None, parted: Sizes | None) -> bool:
    """Whether the last two axes of ``shape`` stay in ``joined`` and change places in ``parted``."""
    if joined is None or len(shape) < 3 or len(joined) != 3 or joined[1:] != shape[-2:]:
        return False
    return parted == (*shape[:-2], shape[-1], shape[-2])


def _absorb(swap: ir.Node, order: list[int]) -> None:
    """Let ``swap`` do the work of a Transpose that it alone reads."""
    read = swap.inputs[0]
    first = None if read is None else read.producer()
    if read is None or first is None or first.op_type != "Transpose" or first.domain != "":
        return
    inner = first.attributes.get_ints("perm")
    if inner is None or only_reader(read) is not swap:
        return
    swap.attributes["perm"] = ir.AttrInt64s("perm", [inner[axis] for axis in order])
    swap.replace_input_with(0, first.inputs[0])
    remove_dead(first)
