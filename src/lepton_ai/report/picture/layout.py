"""Where the items of one scene go: in layers from top to bottom, edges short and seldom crossing.

The method is that of Sugiyama, Tagawa and Toda (1981): layers by longest path, crossings reduced by
barycenter sweeps, then positions. A value read further down runs there in one line, through a point
in each layer, and branches off for each reader. Positions are least-squares: each item wants to be
below what it reads, as far as its neighbours leave room (isotonic regression, solved exactly by
pooling adjacent violators), so chains come out straight and forks even.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from lepton_ai.report.picture.scenes import Scene

#: Space beside an item, and beside a line that passes it.
BESIDE, BESIDE_LINE = 22.0, 12.0
SWEEPS, STRAIGHTENINGS = 8, 8
#: What moves by less than this is where it belongs.
STILL = 0.05
#: Scenes of more lines than this get fewer sweeps.
MANY_LINES, FEW_SWEEPS = 4_000, 2
#: How hard a line holds together, and to the item that it leaves. Items hold with 1: it gives way.
STIFF, LOOSE = 1e-3, 1e-5


@dataclass(frozen=True)
class Layout:
    """The layer and the middle of each item, and for each edge where it passes each layer between.

    ``passes`` holds one entry per edge of the scene, in order; an edge against the flow, which only
    a graph with a cycle has, passes nothing.
    """

    layers: list[int]
    middles: list[float]
    passes: list[list[float]]


def lay_out(scenes: Sequence[Scene]) -> list[Layout]:
    """Lay out each of ``scenes``, which come in order, with the blocks in it closed.

    The ports on a block's border are in the order in which the lines outside come and go.
    """
    layouts: dict[int, Layout] = {}
    wanted: list[dict[tuple[str, int], float]] = [{} for _ in scenes]
    for scene in sorted(scenes, key=lambda scene: scene.depth):
        layout = layouts[scene.index] = _lay_out(scene, wanted[scene.index])
        for (source, target, value), line in zip(scene.edges, layout.passes, strict=True):
            upper, lower = scene.items[source], scene.items[target]
            if upper.kind == "block":
                end = line[0] if line else layout.middles[target]
                wanted[upper.ref].setdefault(("exit", value), end)
            if lower.kind == "block":
                end = line[-1] if line else layout.middles[source]
                wanted[lower.ref].setdefault(("entry", value), end)
    return [layouts[scene.index] for scene in scenes]


def _lay_out(scene: Scene, ports: Mapping[tuple[str, int], float]) -> Layout:
    edges = list(scene.edges)
    layers = _layers(scene, edges)
    web = _Web(scene, layers)
    lines = [web.line(edge) for edge in edges]
    web.order([ports.get((item.kind, item.ref)) for item in scene.items])
    middles = web.middles()
    return Layout(
        layers=layers,
        middles=[round(middle, 1) for middle in middles[: len(layers)]],
        passes=[[round(middles[point], 1) for point in line] for line in lines],
    )


def _layers(scene: Scene, edges: Sequence[tuple[int, int, int]]) -> list[int]:
    """The layer of each item, each below all that it reads; ports on the first and the last."""
    kinds = [item.kind for item in scene.items]
    after: list[list[int]] = [[] for _ in kinds]
    before: list[list[int]] = [[] for _ in kinds]
    for source, target, _ in edges:
        after[source].append(target)
        before[target].append(source)
    order = _topological(before, after)
    rank = {item: number for number, item in enumerate(order)}
    first = 1 if "entry" in kinds else 0
    layers = [0 if kind == "entry" else first for kind in kinds]
    for item in order:
        for target in after[item]:
            if rank[target] > rank[item]:
                layers[target] = max(layers[target], layers[item] + 1)
    for item in reversed(order):
        # What reads less than it gives is better close to its readers.
        readers = [layers[t] - 1 for t in after[item] if rank[t] > rank[item]]
        if readers and kinds[item] != "entry" and len(readers) > len(before[item]):
            layers[item] = max(layers[item], min(readers))
    last = max((layers[i] for i, kind in enumerate(kinds) if kind != "exit"), default=0) + 1
    layers = [last if kind == "exit" else layer for kind, layer in zip(kinds, layers, strict=True)]
    used = {layer: number for number, layer in enumerate(sorted(set(layers)))}
    return [used[layer] for layer in layers]


def _topological(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> list[int]:
    """All items, each after what it reads; a cycle is entered at its first item."""
    missing = [len(sources) for sources in before]
    ready = [item for item, count in enumerate(missing) if not count]
    heapify(ready)
    placed = [False] * len(missing)
    order: list[int] = []
    untried = 0
    while len(order) < len(missing):
        if not ready:
            while placed[untried]:
                untried += 1
            ready.append(untried)
        item = heappop(ready)
        if placed[item]:
            continue
        placed[item] = True
        order.append(item)
        for target in after[item]:
            missing[target] -= 1
            if missing[target] == 0 and not placed[target]:
                heappush(ready, target)
    return order


class _Web:
    """Items and the points of lines, layer by layer, and what joins neighbouring layers."""

    def __init__(self, scene: Scene, layers: Sequence[int]) -> None:
        self.items = len(layers)
        self.layer_of = list(layers)
        self.widths = [item.width for item in scene.items]
        self.rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
        for item, layer in enumerate(layers):
            self.rows[layer].append(item)
        self.above: list[list[int]] = [[] for _ in layers]
        self.below: list[list[int]] = [[] for _ in layers]
        self._trunks: dict[tuple[int, int], list[int]] = defaultdict(list)

    def line(self, edge: tuple[int, int, int]) -> list[int]:
        """The points that ``edge`` passes, made where the line for its value is too short yet."""
        source, target, value = edge
        between = self.layer_of[target] - self.layer_of[source] - 1
        if between < 0:
            return []
        trunk = self._trunks[source, value]
        while len(trunk) < between:
            point = len(self.layer_of)
            layer = self.layer_of[source] + len(trunk) + 1
            self.layer_of.append(layer)
            self.widths.append(0.0)
            self.above.append([])
            self.below.append([])
            self.rows[layer].append(point)
            self._link(trunk[-1] if trunk else source, point)
            trunk.append(point)
        self._link(trunk[between - 1] if between else source, target)
        return trunk[:between]

    def _link(self, upper: int, lower: int) -> None:
        self.below[upper].append(lower)
        self.above[lower].append(upper)

    def order(self, fixed: Sequence[float | None]) -> None:
        """Order each row so that few lines cross; those that are ``fixed`` stay in their order."""
        lines = sum(map(len, self.below))
        pinned = set()
        for at, row in enumerate(self.rows):
            places = [fixed[one] for one in row if one < self.items]
            if len(places) == len(row) and None not in places:
                row.sort(key=lambda one: fixed[one] or 0.0)
                pinned.add(at)
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(SWEEPS if lines < MANY_LINES else FEW_SWEEPS):
            if not fewest:
                break
            numbers = (
                range(1, len(self.rows)) if sweep % 2 == 0 else range(len(self.rows) - 2, -1, -1)
            )
            neighbours = self.above if sweep % 2 == 0 else self.below
            place = {one: at for row in self.rows for at, one in enumerate(row)}
            for row in (self.rows[at] for at in numbers if at not in pinned):
                wanted = {
                    one: sum(place[other] for other in neighbours[one]) / len(neighbours[one])
                    if neighbours[one]
                    else place[one]
                    for one in row
                }
                row.sort(key=wanted.__getitem__)
                place.update((one, at) for at, one in enumerate(row))
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        place = {one: at for row in self.rows for at, one in enumerate(row)}
        crossings = 0
        for row in self.rows:
            ends: list[int] = []
            for upper in row:
                lowers = sorted(place[lower] for lower in self.below[upper])
                crossings += sum(len(ends) - bisect_left(ends, lower + 1) for lower in lowers)
                for lower in lowers:
                    insort(ends, lower)
        return crossings

    def middles(self) -> list[float]:
        """The middle of each item and point."""
        middles = [0.0] * len(self.layer_of)
        for row in self.rows:
            self._settle(row, middles, dict.fromkeys(row, (0.0, 1.0)))
        for _ in range(STRAIGHTENINGS):
            before = list(middles)
            for row in self.rows[-2::-1]:
                self._settle(row, middles, self._wishes(row, self.below, middles))
            for row in self.rows[1:]:
                self._settle(row, middles, self._wishes(row, self.above, middles))
            if all(abs(a - b) < STILL for a, b in zip(before, middles, strict=True)):
                break
        return middles

    def _wishes(
        self, row: Sequence[int], neighbours: Sequence[Sequence[int]], middles: Sequence[float]
    ) -> dict[int, tuple[float, float]]:
        """Where each of ``row`` wants its middle, and how much."""
        wishes = {}
        for one in row:
            near = neighbours[one]
            if not near or (neighbours is self.above and self._heads_chain(one)):
                wishes[one] = middles[one], 1.0 if near else 0.1
                continue
            # A line goes around items; what it belongs to does not move aside with it.
            firm = self._firm(near) or near
            held = 1.0
            if one >= self.items:
                held = STIFF if near[0] >= self.items else LOOSE
            wishes[one] = sum(middles[other] for other in firm) / len(firm), held
        return wishes

    def _firm(self, near: Sequence[int]) -> list[int]:
        return [other for other in near if other < self.items]

    def _heads_chain(self, one: int) -> bool:
        """Whether a fork leads to ``one``, and one item alone reads it: it stays above that one."""
        above, below = self._firm(self.above[one]), self._firm(self.below[one])
        return (
            one < self.items
            and len(above) == len(below) == 1
            and len(self._firm(self.below[above[0]])) > 1
            and len(self._firm(self.above[below[0]])) == 1
        )

    def _settle(
        self, row: Sequence[int], middles: list[float], wishes: dict[int, tuple[float, float]]
    ) -> None:
        """Give ``row`` the positions nearest to its wishes that keep it in order and apart."""
        offset, offsets = 0.0, []
        for at, one in enumerate(row):
            if at:
                offset += self._apart(row[at - 1], one)
            offsets.append(offset)
        pools: list[tuple[float, float, int]] = []  # mean of the wishes, their weight, how many
        for one, shift in zip(row, offsets, strict=True):
            wanted, weight = wishes[one]
            pool = wanted - shift, weight, 1
            while pools and pools[-1][0] >= pool[0]:
                mean, held, count = pools.pop()
                total = held + pool[1]
                pool = (mean * held + pool[0] * pool[1]) / total, total, count + pool[2]
            pools.append(pool)
        settled = [mean for mean, _, count in pools for _ in range(count)]
        for one, mean, shift in zip(row, settled, offsets, strict=True):
            middles[one] = mean + shift

    def _apart(self, left: int, right: int) -> float:
        both = left < self.items and right < self.items
        return (self.widths[left] + self.widths[right]) / 2 + (BESIDE if both else BESIDE_LINE)
