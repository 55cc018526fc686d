"""What the script of a graph's page is given: layouts, and what the tips and the lists say."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lepton_ai.report.picture import placing
from lepton_ai.report.picture.layout import Layout
from lepton_ai.report.picture.marks import BlockMarks, Marks, large
from lepton_ai.report.picture.panel import slowest
from lepton_ai.report.picture.scenes import Scene, Scenes

#: Beyond this many nodes no browser draws them all at once with ease.
MOST_DRAWN = 3_000
#: The constants of the placing, which the script does over.
SIZES = {
    "gap": placing.GAP,
    "perWay": placing.GAP_PER_WAY,
    "mostGap": placing.MOST_GAP,
    "side": placing.SIDE,
    "head": placing.HEAD,
    "foot": placing.FOOT,
    "corner": placing.CORNER,
    "tip": placing.TIP,
    "mostEvened": placing.MOST_EVENED,
    "mostDrawn": MOST_DRAWN,
}


def script_data(
    outline: Mapping[str, Any],
    marks: Marks,
    scenes: Scenes,
    layouts: Sequence[Layout],
    blocks: Sequence[BlockMarks],
    opened: Collection[int],
) -> dict[str, Any]:
    """The data as JSON values; a list's fields are in the order that the script knows."""
    return {
        "scenes": [
            _scene(scene, layout, block, marks)
            for scene, layout, block in zip(scenes.scenes, layouts, blocks, strict=True)
        ],
        "nodes": _nodes(outline["nodes"], marks, scenes),
        "inputs": [[one["name"], one["shape"]] for one in outline["inputs"]],
        "outputs": [[one["name"], one["shape"]] for one in outline["outputs"]],
        "keys": _keys(marks),
        "opened": sorted(opened),
        "sizes": SIZES,
    }


def _scene(scene: Scene, layout: Layout, block: BlockMarks, marks: Marks) -> list[Any]:
    items = [
        [item.kind, item.ref, middle, layer, item.width, item.height]
        for item, middle, layer in zip(scene.items, layout.middles, layout.layers, strict=True)
    ]
    edges = [[*edge, *line] for edge, line in zip(scene.edges, layout.passes, strict=True)]
    macs = large(block.macs) if block.macs else ""
    told = [scene.node, scene.count, marks.told(block.time), macs, block.findings]
    return [scene.parent, scene.label, items, edges, told]


def _nodes(nodes: Sequence[Mapping[str, Any]], marks: Marks, scenes: Scenes) -> list[list[Any]]:
    """What the tip of each node says, and the block of its bodies where it has some."""
    found: list[list[int]] = [[] for _ in nodes]
    refused: list[list[str]] = [[] for _ in nodes]
    for at, places in enumerate(marks.findings):
        for place in places:
            found[place].append(at)
    for one in marks.refused:
        for place in one.nodes:
            refused[place].append(f"{one.engine}: {one.why}")
    return [
        [
            node["name"],
            node["operator"],
            list(node["shapes"]),
            large(node["macs"]) if node["macs"] else "",
            marks.told(marks.times[at]),
            marks.together[at],
            scenes.bodies.get(at),
            found[at],
            refused[at],
        ]
        for at, node in enumerate(nodes)
    ]


def _keys(marks: Marks) -> dict[str, list[int]]:
    """The nodes of each row in the lists beside the drawing."""
    return {
        **{f"f{at}": places for at, places in enumerate(marks.findings)},
        **{f"r{at}": one.nodes for at, one in enumerate(marks.refused)},
        **{f"p{at}": group.nodes for at, group in enumerate(marks.branches)},
        **{f"k{at}": kernel.nodes for at, kernel in slowest(marks)},
    }
