"""The blocks of a graph: which nodes belong together, as a path of names for each node.

Exporters say in which module of the source a node was made; where they do, those modules are the
blocks. Where they do not, the graph is cut where few values cross from what was computed to what is
still to come. Either way a block can be drawn as one box: no two blocks depend on each other both
ways. Linear in nodes and edges but for sorting.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

Path = tuple[str, ...]

#: A frame around fewer nodes than this tells nothing that the nodes do not.
LEAST_NODES = 3
#: More boxes than this side by side in one block are not taken in at a glance.
MOST_BOXES = 60
#: Without a narrow place to cut, a graph is cut anywhere only beyond this size.
MOST_UNCUT = 150
#: A long run of boxes becomes this many parts at most, and each of at least this many boxes.
MOST_PARTS, LEAST_PART = 16, 24
#: A cut is where at most this many values cross; a mask or two may run along the whole graph.
MOST_CROSSING = 4
#: The share of nodes whose module must be known for modules to be the blocks.
LEAST_KNOWN = 0.5


@dataclass(frozen=True)
class _Box:
    """A block or, where ``label`` is empty, a node; ``depth`` of its members' scopes is used up."""

    members: list[int]
    label: str = ""
    depth: int = 0


def block_paths(
    producers: Sequence[Sequence[int]], scopes: Sequence[Path], constant: Sequence[bool]
) -> list[Path]:
    """The blocks around each node of one graph, outermost first.

    ``producers`` are the nodes that each node reads from, ``scopes`` the modules that each was made
    in (empty where that is not known), and ``constant`` says which compute the same in every call.
    """
    order = _in_order(producers)
    scopes = _completed(producers, scopes, order)
    unscoped = not any(scopes)
    graph = _Graph(producers, constant)
    paths: list[Path] = [()] * len(producers)
    waiting: list[tuple[_Box, Path]] = [(_Box(order), ())]
    while waiting:
        block, path = waiting.pop()
        boxes = _dissolved(graph.acyclic(_by_scope(block, scopes)))
        if len(boxes) == 1 and boxes[0].label and boxes[0].depth > block.depth:
            waiting.append((boxes[0], path))  # a frame around all that is in a frame
            continue
        if len(boxes) > (LEAST_PART if unscoped else MOST_BOXES):
            boxes = _dissolved(graph.cut(boxes, block.depth))
        for box, label in zip(boxes, _distinct(box.label for box in boxes), strict=True):
            inner = (*path, label) if label else path
            for node in box.members:
                paths[node] = inner
            if label and len(box.members) < len(block.members):
                waiting.append((box, inner))
    return paths


def _in_order(producers: Sequence[Sequence[int]]) -> list[int]:
    """All nodes, each after those that it reads from; as they are where that holds already.

    What is on a cycle comes last.
    """
    if all(producer < node for node, read in enumerate(producers) for producer in read):
        return list(range(len(producers)))
    order = _sorted(dict(enumerate(map(set, producers))))
    placed = set(order)
    return order + [node for node in range(len(producers)) if node not in placed]


def _sorted(producers: dict[int, set[int]]) -> list[int]:
    """The keys in topological order, the least first where there is a choice; cycles left out."""
    consumers: dict[int, list[int]] = defaultdict(list)
    for node, read in producers.items():
        for producer in read:
            consumers[producer].append(node)
    missing = {node: len(read) for node, read in producers.items()}
    ready = [node for node, count in missing.items() if not count]
    heapify(ready)
    order = []
    while ready:
        order.append(heappop(ready))
        for consumer in consumers[order[-1]]:
            missing[consumer] -= 1
            if not missing[consumer]:
                heappush(ready, consumer)
    return order


def _completed(
    producers: Sequence[Sequence[int]], scopes: Sequence[Path], order: Sequence[int]
) -> list[Path]:
    """``scopes``, with those that are missing taken from the neighbours; none if most are."""
    if sum(map(bool, scopes)) < LEAST_KNOWN * len(scopes):
        return [()] * len(scopes)
    after: dict[int, Path] = {}  # around all that read a node
    for node in reversed(order):
        own = scopes[node] or after.get(node, ())
        for producer in producers[node] if own else ():
            after[producer] = _common(own, after[producer]) if producer in after else own
    full = list(scopes)
    for node in order:
        if not full[node]:
            before = next((full[p] for p in producers[node] if full[p]), ())
            behind = after.get(node, ())
            full[node] = _common(before, behind) if before and behind else before or behind
    return full


def _common(left: Path, right: Path) -> Path:
    same = 0
    while same < min(len(left), len(right)) and left[same] == right[same]:
        same += 1
    return left[:same]


def _by_scope(block: _Box, scopes: Sequence[Path]) -> list[_Box]:
    """The boxes in ``block``: a block per scope at its depth, and the nodes that have none."""
    groups: dict[str, list[int]] = {}
    boxes = []
    for node in block.members:
        scope = scopes[node]
        if len(scope) <= block.depth:
            boxes.append(_Box([node]))
        elif (key := scope[block.depth]) in groups:
            groups[key].append(node)
        else:
            label = _short(key, scope[block.depth - 1] if block.depth else "")
            groups[key] = [node]
            boxes.append(_Box(groups[key], label, block.depth + 1))
    return boxes


def _short(scope: str, parent: str) -> str:
    """``encoder.layer.2`` inside ``encoder`` is ``layer.2``; a bare number keeps a word."""
    short = scope.removeprefix(f"{parent}.") or scope
    return ".".join(scope.split(".")[-2:]) if short.isdigit() else short


def _dissolved(boxes: Iterable[_Box]) -> list[_Box]:
    """``boxes``, with blocks of too few nodes opened."""
    kept: list[_Box] = []
    for box in boxes:
        if box.label and len(box.members) < LEAST_NODES:
            kept.extend(_Box([node]) for node in box.members)
        else:
            kept.append(box)
    return kept


def _distinct(labels: Iterable[str]) -> list[str]:
    seen: Counter[str] = Counter()
    told = []
    for label in labels:
        seen[label] += 1
        told.append(f"{label} ({seen[label]})" if label and seen[label] > 1 else label)
    return told


@dataclass(frozen=True)
class _Graph:
    """Who reads from whom, and what can be said about boxes of nodes from that."""

    producers: Sequence[Sequence[int]]
    constant: Sequence[bool]

    def between(self, boxes: Sequence[_Box]) -> dict[int, set[int]]:
        """For each box by its place, the boxes that it reads from."""
        box_of = {node: place for place, box in enumerate(boxes) for node in box.members}
        read: dict[int, set[int]] = {place: set() for place in range(len(boxes))}
        for node, place in box_of.items():
            read[place].update(
                box_of[producer]
                for producer in self.producers[node]
                if box_of.get(producer, place) != place
            )
        return read

    def acyclic(self, boxes: list[_Box]) -> list[_Box]:
        """``boxes``, with those split that depend on each other both ways.

        Of two calls of one module, the second may need what was made of the first's answer. Within
        a block the level of a node never falls along an edge, and between blocks it rises; so
        blocks of one level each cannot depend on each other both ways.
        """
        read = self.between(boxes)
        tangled = _tangled(read)
        if not tangled:
            return boxes
        levels = self._levels([boxes[place] for place in sorted(tangled)])
        split: list[_Box] = []
        for place, box in enumerate(boxes):
            if place not in tangled:
                split.append(box)
                continue
            pieces: dict[int, list[int]] = defaultdict(list)
            for node in box.members:
                pieces[levels[node]].append(node)
            split += [_Box(members, box.label, box.depth) for _, members in sorted(pieces.items())]
        return split

    def _levels(self, boxes: Sequence[_Box]) -> dict[int, int]:
        box_of = {node: place for place, box in enumerate(boxes) for node in box.members}
        order = _sorted({node: {p for p in self.producers[node] if p in box_of} for node in box_of})
        levels = dict.fromkeys(box_of, 0)
        latest: dict[int, int] = {}
        for node in order:
            for producer in self.producers[node]:
                if producer in box_of:
                    crossed = box_of[producer] != box_of[node]
                    levels[node] = max(levels[node], levels[producer] + crossed)
        # Each node then goes as late as its readers allow, so that what depends on little does not
        # come apart from those that it is for.
        for node in reversed(order):
            levels[node] = latest.get(node, levels[node])
            for producer in self.producers[node]:
                if producer in box_of:
                    level = levels[node] - (box_of[producer] != box_of[node])
                    latest[producer] = min(latest.get(producer, level), level)
        return levels

    def cut(self, boxes: list[_Box], depth: int) -> list[_Box]:
        """``boxes``, grouped in the order in which they are computed, between narrow places."""
        read = self.between(boxes)
        order = _sorted(read)
        if len(order) < len(boxes):
            return boxes
        fixed = {
            place
            for place, box in enumerate(boxes)
            if all(self.constant[node] for node in box.members)
        }
        runs = _runs([place for place in order if place not in fixed], read)
        if len(boxes) > MOST_BOXES:
            runs, name, least = _parts(runs, len(boxes)), "part", LEAST_NODES
        else:
            name, least = "stage", LEAST_NODES + 1
        run_of = {place: number for number, run in enumerate(runs) for place in run}
        for place in reversed(order):  # what is constant is made where it is first read
            for producer in read[place] & fixed:
                run_of[producer] = min(run_of.get(producer, len(runs)), run_of.get(place, 0))
        groups: dict[int, list[int]] = defaultdict(list)
        for place in order:
            groups[run_of.get(place, 0)].append(place)
        if len(groups) < 2:
            return boxes
        grouped: list[_Box] = []
        number = 0
        for key in sorted(groups):
            inside = [boxes[place] for place in groups[key]]
            members = [node for box in inside for node in box.members]
            if len(inside) < least or max(len(box.members) for box in inside) > len(members) / 2:
                grouped += inside
            else:
                number += 1
                grouped.append(_Box(members, f"{name} {number}", depth))
        return grouped


def _tangled(read: dict[int, set[int]]) -> set[int]:
    """The boxes that are on a cycle or between two."""
    forward = set(read) - set(_sorted(read))
    backward: dict[int, set[int]] = {place: set() for place in forward}
    for place in forward:
        for producer in read[place] & forward:
            backward[producer].add(place)
    return forward - set(_sorted(backward))


def _runs(order: list[int], read: dict[int, set[int]]) -> list[list[int]]:
    """``order`` cut wherever few enough values cross, as few as leave no run too long."""
    rank = {place: number for number, place in enumerate(order)}
    last = dict.fromkeys(order, -1)
    for place in order:
        for producer in read[place]:
            if producer in last:
                last[producer] = max(last[producer], rank[place])
    ends: Counter[int] = Counter(last.values())
    crossing, crossings = 0, []
    for number, place in enumerate(order):
        crossing += (last[place] >= 0) - ends[number]
        crossings.append(crossing)
    best: list[list[int]] = [order]
    for most in range(1, MOST_CROSSING + 1):
        runs = _cut_where(order, [count <= most for count in crossings])
        if max(map(len, runs), default=0) < max(map(len, best), default=0):
            best = runs
        if max(map(len, best), default=0) <= max(LEAST_PART, len(order) // 4):
            break
    return best


def _cut_where(order: list[int], ends: list[bool]) -> list[list[int]]:
    runs: list[list[int]] = [[]]
    for place, end in zip(order, ends, strict=True):
        runs[-1].append(place)
        if end:
            runs.append([])
    return [run for run in runs if run]


def _parts(runs: list[list[int]], count: int) -> list[list[int]]:
    """Neighbouring ``runs`` of ``count`` boxes together, until each part is worth a block."""
    size = -(-count // min(MOST_PARTS, max(2, count // LEAST_PART)))
    if len(runs) == 1 and count <= MOST_UNCUT:
        return runs
    parts: list[list[int]] = [[]]
    for run in runs:
        pieces = [run]
        if len(run) > 2 * size:
            pieces = [run[start : start + size] for start in range(0, len(run), size)]
        for piece in pieces:
            if parts[-1] and len(parts[-1]) + len(piece) > size:
                parts.append([])
            parts[-1] += piece
    return parts
