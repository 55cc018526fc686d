"""Where everything in the drawing is, when some of the blocks are open.

A scene is laid out once, with its blocks closed. Where one is open, the space of the scene around
it is stretched until the block's own scene fits: what was in order, apart or in a straight line
stays so. The page's script does the same when a block is opened or closed.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lepton_ai.report.picture.layout import Layout
from lepton_ai.report.picture.scenes import Scene

#: Between two layers, and how much of the way that a line goes sideways is added, up to a limit.
GAP, GAP_PER_WAY, MOST_GAP = 24.0, 0.06, 64.0
#: A frame's margin at its sides, its head where its name is, and the way to ports below.
SIDE, HEAD, FOOT = 18.0, 30.0, 14.0
#: How far from a box's corner a line may end.
CORNER = 12.0
#: How much wider a frame may get so that what enters it does so in the middle.
MOST_EVENED = 1.25
#: The straight way at the end of a line, for its tip.
TIP = 8.0


@dataclass(frozen=True)
class Box:
    """A rectangle in the coordinates of its scene."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Placed:
    """A scene of its size: the boxes of its items, and the paths of its edges."""

    width: float
    height: float
    boxes: list[Box]
    paths: list[str]


class Stretch:
    """A monotone map of a line to itself: each of ``spans`` (from, to, factor) gets its factor.

    Where spans overlap, the largest factor holds.
    """

    def __init__(self, spans: Sequence[tuple[float, float, float]]) -> None:
        marks = sorted({mark for low, high, _ in spans for mark in (low, high)})
        self._marks, self._images, self._factors = marks, marks[:1], []
        for low, high in pairwise(marks):
            factor = max((f for a, b, f in spans if a <= low and high <= b), default=1.0)
            self._factors.append(factor)
            self._images.append(self._images[-1] + factor * (high - low))

    def __call__(self, at: float) -> float:
        """Where ``at`` goes."""
        place = bisect_right(self._marks, at) - 1
        if place < 0:
            return at
        factor = self._factors[place] if place < len(self._factors) else 1.0
        return self._images[place] + factor * (at - self._marks[place])


def place_all(
    scenes: Sequence[Scene], layouts: Sequence[Layout], opened: Collection[int]
) -> dict[int, Placed]:
    """The placed scene of the drawing and of each block in ``opened``."""
    placed: dict[int, Placed] = {}
    for scene in sorted(scenes, key=lambda scene: -scene.depth):
        if scene.index in opened or scene.parent is None:
            placed[scene.index] = _Placing(scene, layouts[scene.index], scenes, placed).place()
    return placed


class _Placing:
    """One scene being placed, the open blocks in it being placed already."""

    def __init__(
        self, scene: Scene, layout: Layout, scenes: Sequence[Scene], placed: dict[int, Placed]
    ) -> None:
        self.scene, self.layout, self.scenes, self.placed = scene, layout, scenes, placed
        self.edges = list(scene.edges)
        self.tops: list[float] = []
        self.bottoms: list[float] = []
        self.boxes: list[Box] = []

    def place(self) -> Placed:
        """Place items and edges."""
        items, layout = self.scene.items, self.layout
        sizes, spans = [], []
        for item, middle in zip(items, layout.middles, strict=True):
            inside = self._inside(item.kind, item.ref)
            size = (inside.width, inside.height) if inside else (item.width, item.height)
            sizes.append(size)
            if inside and inside.width > item.width:
                half = item.width / 2
                spans.append((middle - half, middle + half, inside.width / item.width))
        stretch = Stretch(spans)
        lefts = []
        for item, middle, (width, _) in zip(items, layout.middles, sizes, strict=True):
            half = item.width / 2
            lefts.append((stretch(middle - half) + stretch(middle + half) - width) / 2)
        ends = [(left, left + size[0]) for left, size in zip(lefts, sizes, strict=True)]
        passes = [[stretch(at) for at in line] for line in layout.passes]
        ends += [(at, at) for line in passes for at in line]
        low = min((left for left, _ in ends), default=0.0) - SIDE
        high = max((right for _, right in ends), default=0.0) + SIDE
        low, high = self._evened(low, high, lefts)
        width = high - low
        passes = [[at - low for at in line] for line in passes]
        rows = self._rows([left - low for left in lefts], sizes, passes)
        self.boxes = [
            Box(left - low, self._top(layer, height, rows), width_, height)
            for left, (width_, height), layer in zip(lefts, sizes, layout.layers, strict=True)
        ]
        paths = [self._path(at, line) for at, line in enumerate(passes)]
        return Placed(width, self._height(), self.boxes, paths)

    def _inside(self, kind: str, ref: int) -> Placed | None:
        return self.placed.get(ref) if kind == "block" else None

    def _evened(self, low: float, high: float, lefts: Sequence[float]) -> tuple[float, float]:
        """The frame's sides: wide enough for its name, and even about where the first line enters.

        So a line down the middle of the scene around it goes on straight. Where that would take
        too much room the sides stay as they are.
        """
        if self.scene.parent is None:
            return low, high
        around = self.scenes[self.scene.parent]
        short = around.items[around.places["block", self.scene.index]].width - (high - low)
        low, high = low - max(0.0, short) / 2, high + max(0.0, short) / 2
        entries = [at for at, item in enumerate(self.scene.items) if item.kind == "entry"]
        if entries:
            half = max(lefts[entries[0]] - low, high - lefts[entries[0]])
            if 2 * half <= MOST_EVENED * (high - low):
                return lefts[entries[0]] - half, lefts[entries[0]] + half
        return low, high

    def _rows(
        self,
        lefts: Sequence[float],
        sizes: Sequence[tuple[float, float]],
        passes: Sequence[Sequence[float]],
    ) -> list[float]:
        """The heights of the layers; sets where each begins and ends."""
        layers = self.layout.layers
        count = max(layers, default=-1) + 1
        heights, ways = [0.0] * count, [0.0] * count
        for layer, (_, height) in zip(layers, sizes, strict=True):
            heights[layer] = max(heights[layer], height)
        middles = [left + size[0] / 2 for left, size in zip(lefts, sizes, strict=True)]
        for (source, target, _), line in zip(self.edges, passes, strict=True):
            points = [middles[source], *line, middles[target]]
            if layers[target] <= layers[source]:
                continue
            for step, (a, b) in enumerate(pairwise(points)):
                at = layers[source] + step
                ways[at] = max(ways[at], abs(a - b))
        kinds = {item.kind for item in self.scene.items}
        y = HEAD if self.scene.parent is not None else SIDE
        for layer in range(count):
            if layer == 0 and "entry" in kinds:
                self.tops.append(0.0)
                self.bottoms.append(0.0)
                y += min(ways[0] * GAP_PER_WAY, MOST_GAP - GAP)
                continue
            self.tops.append(y)
            self.bottoms.append(y + heights[layer])
            y += heights[layer] + min(GAP + GAP_PER_WAY * ways[layer], MOST_GAP)
        return heights

    def _top(self, layer: int, height: float, rows: Sequence[float]) -> float:
        return self.tops[layer] + (rows[layer] - height) / 2

    def _height(self) -> float:
        kinds = {item.kind for item in self.scene.items}
        last = self.bottoms[-1] if self.bottoms else 0.0
        return last if "exit" in kinds else last + FOOT

    def _path(self, edge: int, line: Sequence[float]) -> str:
        """From the bottom of one box to the top of another: straight in layers, curved between."""
        source, target, value = self.edges[edge]
        layers, out, into = self.layout.layers, self.boxes[source], self.boxes[target]
        if layers[target] <= layers[source]:
            return ""
        out_x, in_x = out.left + out.width / 2, into.left + into.width / 2
        x = self._end(source, "exit", value, line[0] if line else in_x)
        goal = self._end(target, "entry", value, line[-1] if line else out_x)
        path = f"M{x:.1f} {out.top + out.height:.1f}"
        for step, at in enumerate([*line, goal]):
            upper = self.bottoms[layers[source] + step]
            lower = self.tops[layers[source] + step + 1] - (TIP if step == len(line) else 0.0)
            path += f"V{upper:.1f}"
            if abs(at - x) > 0.05:
                half = (upper + lower) / 2
                path += f"C{x:.1f} {half:.1f} {at:.1f} {half:.1f} {at:.1f} {lower:.1f}"
            x = at
        return f"{path}V{into.top:.1f}"

    def _end(self, item: int, port: str, value: int, toward: float) -> float:
        """Where on a box a line ends: at the port if there is one, else where it comes from."""
        box, kind, ref = self.boxes[item], self.scene.items[item].kind, self.scene.items[item].ref
        inside = self._inside(kind, ref)
        if inside:
            place = self.scenes[ref].places.get((port, value))
            if place is not None:
                return box.left + inside.boxes[place].left
        corner = min(CORNER, box.width / 2)
        return min(max(toward, box.left + corner), box.left + box.width - corner)
