"""One value in the place of another, wherever the first is read or answered."""

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of


def can_stand_for(new: ir.Value, old: ir.Value) -> bool:
    """Whether ``new`` may take every place of ``old``.

    An output of a graph has to be computed by a node in that graph, under a name of its own; every
    other reader takes any value that it can see.
    """
    if not old.is_graph_output():
        return True
    made, replaced = new.producer(), old.producer()
    return (
        made is not None
        and replaced is not None
        and made.graph is replaced.graph
        and not new.is_graph_output()
    )


def stand_for(new: ir.Value, old: ir.Value) -> None:
    """Let the readers of ``old`` read ``new``, which takes its name where it was an output."""
    if old.is_graph_output():
        taken = old.name
        old.name = None
        new.name = taken
        # Behind a foreign operator, only what the output declares is known.
        new.type = new.type or old.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def is_dead(node: ir.Node) -> bool:
    """Whether nothing reads what ``node`` computes."""
    return not any(value.uses() or value.is_graph_output() for value in node.outputs)


def remove_dead(*nodes: ir.Node | None) -> None:
    """Take out those of ``nodes`` that nothing reads, and then what only they read."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node is None or node.graph is None or not is_dead(node):
            continue
        waiting.extend(value.producer() for value in node.inputs if value is not None)
        waiting.extend(let_go(node))
        node.graph.remove(node, safe=True)


def let_go(node: ir.Node) -> list[ir.Node]:
    """Unhook the graphs that ``node`` runs from all that they read; the nodes that computed it.

    A node that is taken out lets go of its own inputs only; what its graphs read would seem to be
    read for ever.
    """
    read: list[ir.Node] = []
    for graph in graphs_of(node):
        for inner in graph.all_nodes():
            read.extend(made for value in inner.inputs if value and (made := value.producer()))
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
    return read
