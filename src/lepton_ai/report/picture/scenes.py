"""The drawing of a graph, taken apart: one scene per block, with what is in it and what joins it.

An edge that crosses the border of a block is drawn in pieces: inside the block from or to a port on
its border, outside from or to the block. So a block is drawn the same whether others are open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Sizes in the drawing's units, which are CSS pixels at full size.
NODE_HEIGHT, BLOCK_HEIGHT, PILL_HEIGHT = 36, 44, 24
LEAST_WIDTH, MOST_LETTERS = 64, 34
#: How wide a letter is at the sizes of labels and of notes; letters beyond Latin are wider.
LETTER, SMALL_LETTER, FOREIGN = 8.0, 6.4, 13.0


@dataclass(frozen=True)
class Item:
    """Something in a scene: a ``node``, ``block``, ``input`` or ``output`` of the graph, or a port.

    ``ref`` says which: the place of the node, scene, input or output; for the ports ``entry`` and
    ``exit``, the value that passes. Sizes are those of a block that is closed.
    """

    kind: str
    ref: int
    label: str = ""
    note: str = ""
    width: float = 0.0
    height: float = 0.0


@dataclass
class Scene:
    """What is drawn inside one block, or, for the first, outside all blocks.

    An edge is a triple: from which item, to which, and the value; a value is the place of the node
    that computes it, or ``-1 - n`` for input ``n`` of the graph. ``node`` is the node whose bodies
    the block holds; ``count`` the number of nodes in it and in what it holds.
    """

    index: int
    label: str
    parent: int | None
    depth: int
    node: int | None = None
    count: int = 0
    items: list[Item] = field(default_factory=list)
    edges: dict[tuple[int, int, int], None] = field(default_factory=dict)
    places: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, item: Item) -> int:
        """The place of ``item`` in this scene, which it gets if it has none."""
        key = item.kind, item.ref
        if key not in self.places:
            self.places[key] = len(self.items)
            self.items.append(item)
        return self.places[key]


@dataclass
class Scenes:
    """All scenes of a graph, the outermost first, and in which of them each node is drawn."""

    scenes: list[Scene] = field(default_factory=lambda: [Scene(0, "", None, 0)])
    holder: list[int] = field(default_factory=list)
    bodies: dict[int, int] = field(default_factory=dict)
    _known: dict[tuple[int, str], int] = field(default_factory=dict)

    def inside(self, parent: int, label: str) -> int:
        """The scene of the block ``label`` inside the scene ``parent``."""
        if (parent, label) not in self._known:
            self._known[parent, label] = self._new(parent, label)
        return self._known[parent, label]

    def around_bodies(self, node: int, label: str) -> int:
        """The scene of the block that holds the bodies of ``node``."""
        if node not in self.bodies:
            self.bodies[node] = self._new(self.holder[node], label)
            self.scenes[self.bodies[node]].node = node
        return self.bodies[node]

    def _new(self, parent: int, label: str) -> int:
        index = len(self.scenes)
        self.scenes.append(Scene(index, label, parent, self.scenes[parent].depth + 1))
        return index

    def ancestors(self, scene: int) -> list[int]:
        """``scene`` and the scenes around it, innermost first."""
        chain = [scene]
        while (parent := self.scenes[chain[-1]].parent) is not None:
            chain.append(parent)
        return chain

    def join(self, source: tuple[int, Item], target: tuple[int, Item], value: int) -> None:
        """Draw the edge between two items, each given with the scene that it is in."""
        (left, start), (right, end) = source, target
        from_item, to_item = self.scenes[left].add(start), self.scenes[right].add(end)
        while left != right:
            if self.scenes[left].depth > self.scenes[right].depth:
                scene = self.scenes[left]
                scene.edges[from_item, scene.add(Item("exit", value)), value] = None
                left, from_item = self._out_of(scene)
            else:
                scene = self.scenes[right]
                scene.edges[scene.add(Item("entry", value)), to_item, value] = None
                right, to_item = self._out_of(scene)
        if from_item != to_item:
            self.scenes[left].edges[from_item, to_item, value] = None

    def _out_of(self, scene: Scene) -> tuple[int, int]:
        assert scene.parent is not None
        return scene.parent, self.scenes[scene.parent].places["block", scene.index]


def nest(outline: Mapping[str, Any]) -> Scenes:
    """The scenes of ``outline``, one in another, with nothing in them yet."""
    built = Scenes()
    nodes = outline["nodes"]
    with_bodies = {node["within"] for node in nodes if node["within"] is not None}
    for node in nodes:
        at = 0
        if node["within"] is not None and node["within"] < node["index"]:
            outer = node["within"]
            at = built.inside(built.around_bodies(outer, nodes[outer]["operator"]), node["body"])
        for label in node["block"]:
            at = built.inside(at, label)
        built.holder.append(at)
        for scene in built.ancestors(at):
            built.scenes[scene].count += 1
        if node["index"] in with_bodies:
            built.around_bodies(node["index"], node["operator"])
    return built


def fill(
    built: Scenes, outline: Mapping[str, Any], notes: Sequence[str], times: Sequence[str]
) -> None:
    """Put everything in ``outline`` into its scene, and join it.

    ``notes`` are the small lines in the nodes, ``times`` what the blocks take, in words.
    """
    root = built.scenes[0]
    for place, given in enumerate(outline["inputs"]):
        root.add(_box("input", place, given["name"], "", PILL_HEIGHT))
    for node in outline["nodes"]:
        at = node["index"]
        for scene in reversed(built.ancestors(built.bodies.get(at, built.holder[at]))):
            block = built.scenes[scene]
            if block.parent is not None:
                note = _block_note(block.count, times[scene])
                built.scenes[block.parent].add(
                    _box("block", scene, f"▸ {block.label}", note, BLOCK_HEIGHT)
                )
        if at not in built.bodies:
            box = _box("node", at, node["operator"], notes[at], NODE_HEIGHT)
            built.scenes[built.holder[at]].add(box)
    for place, given in enumerate(outline["outputs"]):
        root.add(_box("output", place, given["name"], "", PILL_HEIGHT))
    _connect(built, outline)


def _block_note(count: int, time: str) -> str:
    nodes = f"{count:,} node{'' if count == 1 else 's'}"
    return f"{nodes} · {time}" if time else nodes


def _connect(built: Scenes, outline: Mapping[str, Any]) -> None:
    root = built.scenes[0]

    def end(node: int) -> tuple[int, Item]:
        scene = built.holder[node]
        key = ("block", built.bodies[node]) if node in built.bodies else ("node", node)
        return scene, built.scenes[scene].items[built.scenes[scene].places[key]]

    for node in outline["nodes"]:
        for source in node["inputs"]:
            built.join(end(source), end(node["index"]), source)
        for given in node["reads"]:
            source = root.items[root.places["input", given]]
            built.join((0, source), end(node["index"]), -1 - given)
    for place, output in enumerate(outline["outputs"]):
        if output["node"] is not None:
            target = root.items[root.places["output", place]]
            built.join(end(output["node"]), (0, target), output["node"])


def _box(kind: str, ref: int, label: str, note: str, height: float) -> Item:
    label, note = _cut(label), _cut(note)
    width = max(_length(label, LETTER), _length(note, SMALL_LETTER)) + 20
    return Item(kind, ref, label, note, max(LEAST_WIDTH, round(width)), height)


def _cut(label: str) -> str:
    """``label``, its middle left out where it is long."""
    half = MOST_LETTERS // 2
    return label if len(label) <= MOST_LETTERS else f"{label[: half - 1]}…{label[-half:]}"


def _length(label: str, letter: float) -> float:
    return sum(letter if ord(sign) < 0x2000 else FOREIGN for sign in label)
