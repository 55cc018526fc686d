"""The graphs inside a graph: the branches of an ``If``, the bodies of loops, and functions."""

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

from lepton_ai.errors import ModelError
from lepton_ai.formats.quiet import quiet

#: Calls above this are left as calls: the inliner looks for a free name from the first on, and so
#: takes a time that is the square of the calls.
MOST_CALLS_INLINED = 5_000


def inline_functions(model: ir.Model) -> None:
    """Put the bodies of ``model``'s functions in the place of their calls.

    Raises:
        ModelError: the functions call each other in a circle, or do not fit their calls.
    """
    if not model.functions or _calls(model) > MOST_CALLS_INLINED:
        return
    with quiet():
        try:
            common.InlinePass()(model)
        except Exception as failure:  # a pass wraps whatever its checks and its work raise
            raise ModelError(f"the model's functions cannot be inlined: {failure}") from failure


def _calls(model: ir.Model) -> int:
    """How many calls there are once all are inlined; those of calls inside functions included."""
    inner = {
        name: Counter(node.op_identifier() for node in body.all_nodes())
        for name, body in model.functions.items()
    }
    waiting = Counter(node.op_identifier() for node in model.graph.all_nodes())
    total = 0
    # A level of calls at a time; functions that do not call each other in a circle have few levels.
    for _ in range(len(inner) + 1):
        waiting = Counter({name: count for name, count in waiting.items() if name in inner})
        total += waiting.total()
        if not waiting or total > MOST_CALLS_INLINED:
            break
        ahead: Counter[ir.OperatorIdentifier] = Counter()
        for name, count in waiting.items():
            for called, times in inner[name].items():
                if called in inner:
                    ahead[called] += times * count
        waiting = ahead
    return total


def graphs_of(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that ``node`` carries in its attributes."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """What ``node`` reads, its subgraphs' reading of the graphs around them included."""
    yield from (value for value in node.inputs if value is not None)
    for graph in graphs_of(node):
        for inner in graph.all_nodes():
            yield from (value for value in inner.inputs if value is not None)
        yield from graph.outputs
