"""The outline of a graph: its nodes, who reads from whom, and the blocks they belong to."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from lepton_ai.graph.applying import free_inputs
from lepton_ai.graph.bodies import inline_functions
from lepton_ai.graph.inspection.blocks import block_paths
from lepton_ai.graph.inspection.cost import bind_sizes, infer_shapes
from lepton_ai.graph.inspection.macs import multiply_accumulates
from lepton_ai.graph.onnx_file import load_graph, operator_name
from lepton_ai.graph.rule import node_label

#: Modules nested deeper than this are drawn as one.
DEEPEST = 16
#: Exporters' records of the modules that a node was made in, outermost first.
SCOPES, NAMESPACE = "pkg.torch.onnx.name_scopes", "namespace"
#: What PyTorch records for nodes that it made in no module.
NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


@dataclass(frozen=True, kw_only=True)
class OutlineNode:
    """One node: its place in the outline, its name, and its place in the graph.

    ``inputs`` are the places of the nodes that it reads from, in this graph or around it, and
    ``reads`` those of the graph inputs. ``block`` are the blocks around it, outermost first, inside
    the graph that it is in: attribute ``body`` of node ``within``, or the model's own. ``shapes``
    are its outputs in words. ``macs`` is ``None`` where a shape is not known.
    """

    index: int
    name: str
    operator: str
    block: tuple[str, ...]
    inputs: tuple[int, ...]
    reads: tuple[int, ...]
    within: int | None
    body: str
    shapes: tuple[str, ...]
    macs: int | None


@dataclass(frozen=True, kw_only=True)
class OutlineInput:
    """One input of the graph, and its shape in words."""

    name: str
    shape: str


@dataclass(frozen=True, kw_only=True)
class OutlineOutput:
    """One output of the graph, its shape in words, and the place of the node that computes it.

    ``node`` is ``None`` where the output is an input or a weight.
    """

    name: str
    shape: str
    node: int | None


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A graph as it is drawn, without its weights; subgraphs' nodes come after those they are in.

    A node's name is that of :func:`~lepton_ai.graph.rule.node_label`, as findings give it.
    """

    name: str
    inputs: tuple[OutlineInput, ...]
    outputs: tuple[OutlineOutput, ...]
    nodes: tuple[OutlineNode, ...]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        # Their fields are plain already, and ``asdict`` would copy each of 20,000 nodes in depth.
        return {
            "name": self.name,
            "inputs": [dict(vars(one)) for one in self.inputs],
            "outputs": [dict(vars(one)) for one in self.outputs],
            "nodes": [dict(vars(one)) for one in self.nodes],
        }


@dataclass(frozen=True)
class _Placed:
    """A node and the graph it is in: which attribute of which node, by its place."""

    node: ir.Node
    within: int | None
    body: str


def outline(path: Path) -> Outline:
    """Read the ONNX file at ``path``, in time linear in its nodes; its weights stay unread.

    Raises:
        ModelError: the file is not an ONNX graph.
    """
    model = load_graph(path)
    inline_functions(model)
    infer_shapes(model)
    inputs = free_inputs(model)
    placed = _placed(model.graph)
    producer = {value: at for at, one in enumerate(placed) for value in one.node.outputs}
    given = {value: at for at, value in enumerate(inputs)}
    read = [tuple(_known(one.node.inputs, producer)) for one in placed]
    reads = [tuple(_known(one.node.inputs, given)) for one in placed]
    blocks = _blocks(placed, read, reads)
    shapes = [tuple(_words(value) for value in one.node.outputs) for one in placed]
    labels = [node_label(one.node) for one in placed]
    name = str(model.graph.name or path.stem)
    outline_inputs = tuple(OutlineInput(name=str(v.name), shape=_words(v)) for v in inputs)
    outputs = tuple(
        OutlineOutput(name=str(value.name), shape=_words(value), node=producer.get(value))
        for value in model.graph.outputs
    )
    # Counting binds symbolic sizes and folds what computes them, so it comes when all is told.
    bind_sizes(model)
    nodes = tuple(
        OutlineNode(
            index=at,
            name=labels[at],
            operator=operator_name(one.node),
            block=blocks[at],
            inputs=read[at],
            reads=reads[at],
            within=one.within,
            body=one.body,
            shapes=shapes[at],
            macs=multiply_accumulates(one.node),
        )
        for at, one in enumerate(placed)
    )
    return Outline(name=name, inputs=outline_inputs, outputs=outputs, nodes=nodes)


def _placed(graph: ir.Graph) -> list[_Placed]:
    """The nodes of ``graph``, then those of their bodies, and so on inwards."""
    placed = [_Placed(node, None, "") for node in graph]
    for at, one in enumerate(placed):  # the list grows while it is gone through
        placed.extend(
            _Placed(node, at, body) for body, inner in _bodies(one.node) for node in inner
        )
    return placed


def _bodies(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield name, attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            for number, graph in enumerate(attribute.as_graphs()):
                yield f"{name} {number + 1}", graph


def _known(values: Sequence[ir.Value | None], places: Mapping[ir.Value, int]) -> Iterator[int]:
    """The place of each of ``values`` that has one, once, in order."""
    known = (places[value] for value in values if value is not None and value in places)
    yield from dict.fromkeys(known)


def _words(value: ir.Value) -> str:
    shape = "any shape" if value.shape is None else str(value.shape)
    return f"{value.dtype or 'any type'} {shape}"


def _blocks(
    placed: Sequence[_Placed], read: Sequence[tuple[int, ...]], reads: Sequence[tuple[int, ...]]
) -> list[tuple[str, ...]]:
    """The blocks around each node, graph by graph."""
    graphs: dict[tuple[int | None, str], list[int]] = {}
    for at, one in enumerate(placed):
        graphs.setdefault((one.within, one.body), []).append(at)
    recorded = [_recorded(one.node) for one in placed]
    blocks: list[tuple[str, ...]] = [()] * len(placed)
    for members in graphs.values():
        local = {at: number for number, at in enumerate(members)}
        producers = [[local[p] for p in read[at] if p in local] for at in members]
        scopes = [recorded[at] for at in members]
        if not any(scopes):
            scopes = [_named(placed[at].node) for at in members]
        varies = [bool(reads[at]) or any(p not in local for p in read[at]) for at in members]
        paths = block_paths(producers, scopes, _constant(producers, varies))
        for at, block in zip(members, paths, strict=True):
            blocks[at] = block
    return blocks


def _constant(producers: Sequence[Sequence[int]], varies: Sequence[bool]) -> list[bool]:
    """Which nodes compute the same in every call, as far as the order of nodes shows."""
    constant: list[bool] = []
    for read, own in zip(producers, varies, strict=True):
        constant.append(not own and all(p < len(constant) and constant[p] for p in read))
    return constant


def _recorded(node: ir.Node) -> tuple[str, ...]:
    """The modules that PyTorch's exporter recorded for ``node``."""
    scopes = node.metadata_props.get(SCOPES)
    if scopes is not None:  # a list as Python prints it
        names = re.findall(r"'([^']*)'", scopes)
        return () if NO_MODULE in names else tuple(filter(None, names))[:DEEPEST]
    namespace = node.metadata_props.get(NAMESPACE, "")
    parts = (part.partition(":")[0].strip() for part in namespace.split("/"))
    return tuple(filter(None, parts))[:DEEPEST]


def _named(node: ir.Node) -> tuple[str, ...]:
    """The modules in a name such as ``/layer1/conv1/Conv``, as TorchScript and Keras give."""
    parts = [part for part in (node.name or "").split("/") if part]
    return tuple(parts[:-1][:DEEPEST])
