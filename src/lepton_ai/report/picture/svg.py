"""The drawing of a graph as SVG: what is open where it is, what is closed in templates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lepton_ai.report.picture.marks import BlockMarks, Marks
from lepton_ai.report.picture.placing import Placed
from lepton_ai.report.picture.scenes import Item, Scene, Scenes
from lepton_ai.report.quantities import shown

#: Operators by what they do, for the colour of a node's border.
FAMILIES: Mapping[str, tuple[str, str]] = {
    "fp": (
        "products",
        "Attention Conv ConvInteger ConvTranspose DeformConv Einsum FusedConv FusedGemm "
        "FusedMatMul GRU Gemm LSTM MatMul MatMulInteger MultiHeadAttention QLinearConv "
        "QLinearMatMul RNN",
    ),
    "fn": (
        "normalisation and reduction",
        "ArgMax ArgMin AveragePool BatchNormalization CumSum GlobalAveragePool GlobalMaxPool "
        "GroupNormalization InstanceNormalization LRN LayerNormalization LogSoftmax "
        "LpNormalization MaxPool MeanVarianceNormalization RMSNormalization ReduceL1 ReduceL2 "
        "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum SkipLayerNormalization Softmax TopK",
    ),
    "fs": (
        "shape and data movement",
        "Cast CastLike Compress Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather "
        "GatherElements GatherND Identity OneHot Pad Range Reshape Resize ScatterElements "
        "ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze "
        "Upsample",
    ),
    "fc": ("control flow", "If Loop Scan SequenceMap"),
}
#: All others work element by element, or are unknown.
OTHERS = "fe", "elementwise and other"
_FAMILY = {
    operator: name for name, (_, members) in FAMILIES.items() for operator in members.split()
}
_PORTS = ("entry", "exit")


@dataclass(frozen=True)
class Drawing:
    """Draws scenes; ``placed`` holds those that are open, ``names`` those of the nodes."""

    scenes: Scenes
    placed: Mapping[int, Placed]
    names: Sequence[str]
    marks: Marks
    blocks: Sequence[BlockMarks]

    @cached_property
    def _found(self) -> Counter[int]:
        """How many findings each node is part of."""
        return Counter(node for nodes in self.marks.findings for node in nodes)

    @cached_property
    def _refused(self) -> set[int]:
        return {node for one in self.marks.refused for node in one.nodes}

    def svg(self) -> str:
        """The drawing as it is when the page opens."""
        root = self.placed[0]
        return (
            f'<svg id="graph" viewBox="0 0 {root.width:g} {root.height:g}" '
            f'width="{root.width:g}" height="{root.height:g}" role="group" '
            'aria-label="the graph, from its inputs at the top to its outputs"><defs>'
            '<marker id="tip-end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
            'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
            '<path d="M0 .8L7.5 4L0 7.2z"/></marker></defs>'
            f"{self._contents(self.scenes.scenes[0])}</svg>"
        )

    def templates(self) -> str:
        """The insides of the blocks that are closed, for the script to put in their place."""
        return "".join(
            f'<template id="s{scene.index}"><svg>{self._items(scene)}</svg></template>\n'
            for scene in self.scenes.scenes
            if scene.index not in self.placed
        )

    def _contents(self, scene: Scene) -> str:
        placed = self.placed.get(scene.index)
        if placed is None:
            return f'<g class="c" id="c{scene.index}"></g>'
        paths = "".join(
            f'<path{" class=a" if self._tipped(scene.items[target]) else ""} d="{path}"/>'
            for (_, target, _), path in zip(scene.edges, placed.paths, strict=True)
        )
        return f'<g class="c" id="c{scene.index}"><g class="e">{paths}</g>{self._items(scene)}</g>'

    def _tipped(self, target: Item) -> bool:
        """Whether a line to ``target`` ends there, rather than going on inside."""
        return target.kind not in _PORTS and not (
            target.kind == "block" and target.ref in self.placed
        )

    def _items(self, scene: Scene) -> str:
        placed = self.placed.get(scene.index)
        drawn = []
        for at, item in enumerate(scene.items):
            if item.kind in _PORTS:
                continue
            box = placed.boxes[at] if placed else None
            move = f' transform="translate({box.left:.1f} {box.top:.1f})"' if box else ""
            size = (box.width, box.height) if box else (item.width, item.height)
            if item.kind == "block":
                drawn.append(self._block(item, move, size))
            elif item.kind == "node":
                drawn.append(self._node(item, move))
            else:
                drawn.append(
                    f'<g class="p" id="{item.kind[0]}{item.ref}" tabindex="-1"{move}>'
                    f'<rect width="{item.width:g}" height="{item.height:g}"/>'
                    f'<text x="{item.width / 2:g}" y="16">{shown(item.label)}</text></g>'
                )
        return "".join(drawn)

    def _node(self, item: Item, move: str) -> str:
        node, middle = item.ref, f"{item.width / 2:g}"
        family = _FAMILY.get(item.label, OTHERS[0])
        shade = self.marks.shade(self.marks.times[node])
        refused = " r" if node in self._refused else ""
        badges = self._badges(item, self._found[node], node in self._refused)
        # The script names those that it puts in their place itself.
        name = f' role="img" aria-label="{shown(self.names[node])}, {shown(item.label)}"{move}'
        small = f'<text class="q" x="{middle}" y="29">{shown(item.note)}</text>'
        return (
            f'<g class="n {shade} {family}{refused}" id="n{node}" '
            f'tabindex="-1"{name if move else ""}>'
            f'<rect width="{item.width:g}" height="{item.height:g}"/>'
            f'<text x="{middle}" y="{16 if item.note else 22}">{shown(item.label)}</text>'
            f"{small if item.note else ''}{badges}</g>"
        )

    def _block(self, item: Item, move: str, size: tuple[float, float]) -> str:
        scene = self.scenes.scenes[item.ref]
        is_open = item.ref in self.placed
        label = item.label.replace("▸", "▾", 1) if is_open else item.label
        marks = self.blocks[item.ref]
        return (
            f'<g class="b {self.marks.shade(marks.time)}{" open" if is_open else ""}" '
            f'id="b{item.ref}"{move}><rect width="{size[0]:g}" height="{size[1]:g}"/>'
            f'{self._contents(scene)}<g class="k" role="button" tabindex="0" '
            f'aria-expanded="{str(is_open).lower()}" aria-label="{shown(scene.label)}, '
            f'{scene.count} nodes"><rect width="{item.width:g}" height="22"/>'
            f'<text x="10" y="18">{shown(label)}</text></g>'
            f'<text class="q" x="10" y="34">{shown(item.note)}</text>'
            f"{self._badges(item, marks.findings, marks.refused)}</g>"
        )

    def _badges(self, item: Item, found: int, refused: bool) -> str:
        badges = ""
        if found:
            width = 16 + 6 * (len(str(found)) - 1)
            badges += (
                f'<g class="d"><rect x="{item.width - width + 6:g}" y="-7" width="{width}" '
                f'height="16"/><text x="{item.width - width / 2 + 6:g}" y="5">{found}</text></g>'
            )
        if refused:
            badges += '<g class="d x"><rect x="-6" y="-7" width="16" height="16"/>'
            badges += '<text x="2" y="5">×</text></g>'
        return badges
