"""Convolutions of sequences as convolutions of images one row high.

ONNX Runtime's blocked convolutions, which keep channels together in memory from one layer to the
next, are for images only: ``[batch, channels, length]`` is computed by a matrix product and put in
order again after every layer. ``[batch, channels, 1, length]`` is the same numbers. Putting the row
in and out costs little, but not nothing, so it is done around whole chains: convolutions and all
between them that works on images as well.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight
from lepton_ai.graph.matching.flat_nodes import ROW, image_shape, make_flat, sequences_of
from lepton_ai.graph.matching.linear_layer import LinearLayer, layer_of
from lepton_ai.graph.rule import Ledger, Rule

#: ONNX Runtime blocks this many channels together; it leaves other counts to the matrix product.
BLOCK: Final = 16
#: From here on the axes of Squeeze and Unsqueeze are an input.
LEAST_OPSET: Final = 13
#: One convolution gains less than its row costs.
LEAST_CONVOLUTIONS: Final = 2


class FlatConvolution(Rule):
    """ONNX Runtime has blocked convolutions for images, and none for sequences."""

    name = "flat-convolution"
    requires = (
        "two or more convolutions of float32 sequences with constant weights in a chain, most of"
        " whose work is on channels in multiples of 16"
    )
    ensures = "the chain computes on images one row high, with the row put in and out at its ends"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Flatten every such chain."""
        if model.opset_imports.get("", 1) < LEAST_OPSET:
            return
        for graph in model.graphs():
            for chain in _chains(graph):
                _consider(graph, chain, ledger)


@dataclass(kw_only=True)
class _Chains:
    """Nodes joined by the values that they hand on or share; each group has a first node."""

    first: dict[ir.Node, ir.Node] = field(default_factory=dict)
    holders: dict[ir.Value, ir.Node] = field(default_factory=dict)

    def root(self, node: ir.Node) -> ir.Node:
        """The node that stands for the group of ``node``."""
        while self.first[node] is not node:
            self.first[node] = self.first[self.first[node]]
            node = self.first[node]
        return node

    def join(self, node: ir.Node, sequences: list[ir.Value]) -> None:
        """Take ``node`` in, with what it reads and what it computes."""
        self.first[node] = node
        for value in sequences:
            holder = self.holders.setdefault(value, node)
            self.first[self.root(node)] = self.root(holder)
        self.holders[node.outputs[0]] = node


def _chains(graph: ir.Graph) -> list[list[ir.Node]]:
    """Groups of nodes that can compute on images together, each in the graph's order."""
    chains = _Chains()
    for node in graph:
        sequences = sequences_of(node)
        if sequences is None:
            continue
        handed_on = any(value.producer() in chains.first for value in sequences)
        if node.op_type == "Conv" or (handed_on and all(v in chains.holders for v in sequences)):
            chains.join(node, sequences)
    groups: dict[ir.Node, list[ir.Node]] = {}
    for node in chains.first:
        groups.setdefault(chains.root(node), []).append(node)
    return list(groups.values())


def _consider(graph: ir.Graph, chain: list[ir.Node], ledger: Ledger) -> None:
    layers = [layer for layer in map(layer_of, chain) if layer is not None]
    if len(layers) < LEAST_CONVOLUTIONS:
        ledger.miss(chain, "one convolution of a sequence gains less than its row costs")
        return
    work = sum(_work(layer) for layer in layers)
    blocked = sum(_work(layer) for layer in layers if _has_blocks(layer))
    if 2 * blocked < work:
        ledger.miss(chain, f"most of the work is on channels that are no multiple of {BLOCK}")
        return
    fault = next(filter(None, (layer.copy_fault() for layer in layers)), "")
    if fault:
        ledger.miss(chain, fault)
        return
    why = f"its {len(layers)} convolutions of sequences are ones of images that are one row high"
    if ledger.fire(str(chain[0].outputs[0].name), chain, why):
        _flatten(graph, chain)


def _work(layer: LinearLayer) -> int:
    """Multiply-accumulates per element of the sequence."""
    return layer.shape[0] * layer.shape[1] * layer.shape[2]


def _has_blocks(layer: LinearLayer) -> bool:
    per_group = layer.groups in (1, layer.inputs)
    return per_group and not layer.inputs % BLOCK and not layer.outputs % BLOCK


def _flatten(graph: ir.Graph, chain: list[ir.Node]) -> None:
    within = set(chain)
    row = add_weight(graph, f"{chain[0].outputs[0].name}_row", np.array([ROW], dtype=np.int64))
    images: dict[ir.Value, ir.Value] = {}
    for node in chain:
        for value in sequences_of(node) or ():
            if value.producer() in within:
                continue
            if value not in images:
                images[value] = _put_in(graph, value, row, node)
            for index, given in enumerate(node.inputs):
                if given is value:
                    node.replace_input_with(index, images[value])
        make_flat(node)
    for node in chain:
        _take_out(graph, node.outputs[0], row, within)


def _put_in(graph: ir.Graph, value: ir.Value, row: ir.Value, before: ir.Node) -> ir.Value:
    """The image of ``value``, made before its first reader in a chain."""
    node = ir.node("Unsqueeze", [value, row])
    image = node.outputs[0]
    image.name, image.type = f"{value.name}_image", value.type
    image.shape = image_shape(value.shape)
    graph.insert_before(before, node)
    return image


def _take_out(graph: ir.Graph, image: ir.Value, row: ir.Value, within: set[ir.Node]) -> None:
    """Let what is outside of the chain read a sequence where it did; ``image`` was one so far."""
    outside = [use for use in image.uses() if use.node not in within]
    made = image.producer()
    if made is not None and (outside or image.is_graph_output()):
        node = ir.node("Squeeze", [image, row])
        sequence = node.outputs[0]
        sequence.name, sequence.type, sequence.shape = image.name, image.type, image.shape
        graph.insert_after(made, node)
        for use in outside:
            use.node.replace_input_with(use.idx, sequence)
        for index, output in enumerate(graph.outputs):
            if output is image:
                graph.outputs[index] = sequence
        image.name = f"{sequence.name}_image"
    image.shape = image_shape(image.shape)
