"""What of a graph can be removed: its elements, tied by every operator in turn."""

import onnx_ir as ir

from lepton_ai.compress.slimming.couplers import COUPLERS
from lepton_ai.compress.slimming.coupling import Components, Ties
from lepton_ai.graph.matching.linear_layer import FLOATS


def components_of(model: ir.Model) -> Components:
    """What can be removed from the main graph of ``model``, whose shapes are inferred.

    What callers give and get keeps its size, and so does what an operator reads that is not known
    here, or that a subgraph reads.
    """
    ties = Ties(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        ties.lock_value(value)
    for weight in model.graph.initializers.values():
        if weight.dtype not in FLOATS:
            ties.lock_value(weight)
    for node in model.graph:
        coupler = COUPLERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if coupler is None:
            ties.lock_node(node)
        else:
            coupler(ties, node)
    for graph in model.graphs():
        if graph is not model.graph:
            for node in graph:
                ties.lock_node(node)
    return ties.components()
