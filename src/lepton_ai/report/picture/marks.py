"""What a report says about each node of a graph: its time, its findings, who refuses it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lepton_ai.report.picture.branches import Branches, read_branches
from lepton_ai.report.picture.scenes import Scenes
from lepton_ai.report.quantities import milliseconds, percent, significant
from lepton_ai.report.reading import Record, is_list, number, part, parts, text, texts

#: The shares of an engine's time from which on a node is one shade darker.
SHADES = (0.001, 0.005, 0.01, 0.03, 0.1)
#: Prefixes of large counts.
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Refused:
    """A node that an engine cannot take, and why; ``nodes`` are its places in the outline."""

    engine: str
    node: str
    why: str
    nodes: list[int]


@dataclass(frozen=True)
class Kernel:
    """One kernel of the profile, and the places of its nodes."""

    name: str
    operator: str
    milliseconds: float
    nodes: list[int]


@dataclass(frozen=True)
class Marks:
    """Per node: its milliseconds (``None`` where no kernel is said to be its), and with whom.

    ``findings``, ``refused`` and ``branches`` are in the order of the report, with the places of
    their nodes. ``total`` is what all kernels take together; 0 without a profile.
    """

    times: list[float | None]
    together: list[int]
    findings: list[list[int]]
    refused: list[Refused]
    branches: list[Branches]
    kernels: list[Kernel]
    total: float

    def shade(self, time: float | None) -> str:
        """The class of colour for a time."""
        if time is None or not self.total:
            return "tu"
        return f"t{sum(time >= share * self.total for share in SHADES)}"

    def told(self, time: float | None) -> str:
        """A time in words, with its share; empty where there is none or it is not known."""
        if not time or not self.total:
            return ""
        return f"{milliseconds(time)}, {percent(float(f'{time / self.total:.2g}'))}"


def read_marks(report: Record, nodes: Sequence[Mapping[str, Any]]) -> Marks:
    """Find the nodes that ``report`` speaks of among the ``nodes`` of an outline."""
    places: dict[str, list[int]] = defaultdict(list)
    for node in nodes:
        places[node["name"]].append(node["index"])

    def found(names: Iterable[str]) -> list[int]:
        return list(dict.fromkeys(place for name in names for place in places.get(name, ())))

    times: list[float | None] = [None] * len(nodes)
    together = [0] * len(nodes)
    kernels = []
    for kernel in parts(report, "profile", "kernels"):
        took = number(kernel, "milliseconds") or 0.0
        # Where two nodes have one name, the profile cannot mean both.
        own = list(dict.fromkeys(places[n][0] for n in texts(kernel, "nodes") if n in places))
        kernels.append(Kernel(text(kernel, "kernel"), text(kernel, "operator"), took, own))
        weights = [float(nodes[place]["macs"] or 0) for place in own]
        if not sum(weights):
            weights = [1.0] * len(own)
        for place, weight in zip(own, weights, strict=True):
            times[place] = (times[place] or 0.0) + took * weight / sum(weights)
            together[place] = max(together[place], len(own))
    refused = [
        Refused(text(fit, "engine"), text(one, "node"), _why(one), found([text(one, "node")]))
        for fit in parts(report, "fits")
        for one in parts(fit, "refusals")
    ]
    branches = part(report, "parallelism").get("branches")
    return Marks(
        times=times,
        together=together,
        findings=[found(texts(finding, "nodes")) for finding in parts(report, "findings")],
        refused=refused,
        branches=[
            read_branches(list(map(str, group)), places, nodes)
            for group in branches or ()
            if is_list(group)
        ],
        kernels=kernels,
        total=sum(kernel.milliseconds for kernel in kernels),
    )


@dataclass(frozen=True)
class BlockMarks:
    """What is said about the nodes in one block: their time, how many findings, any refused."""

    time: float | None
    macs: int
    findings: int
    refused: bool


def block_marks(
    marks: Marks, scenes: Scenes, nodes: Sequence[Mapping[str, Any]]
) -> list[BlockMarks]:
    """The marks of each scene: those of all nodes in it and in what it holds."""
    around = [
        scenes.ancestors(scenes.bodies.get(node, holder))
        for node, holder in enumerate(scenes.holder)
    ]
    times: list[float | None] = [None] * len(scenes.scenes)
    macs, findings = [0] * len(scenes.scenes), [0] * len(scenes.scenes)
    for node, time in zip(nodes, marks.times, strict=True):
        for scene in around[node["index"]]:
            macs[scene] += node["macs"] or 0
            if time is not None:
                times[scene] = (times[scene] or 0.0) + time
    for places in marks.findings:
        for scene in {scene for place in places for scene in around[place]}:
            findings[scene] += 1
    refused = {s for one in marks.refused for place in one.nodes for s in around[place]}
    return [
        BlockMarks(times[at], macs[at], findings[at], at in refused)
        for at in range(len(scenes.scenes))
    ]


def _why(refusal: Record) -> str:
    unlocked = text(refusal, "unlocked_by")
    return text(refusal, "reason") + (f"; {unlocked} unlocks it" if unlocked else "")


def large(value: float | None) -> str:
    """A count with a prefix: 1.82 G."""
    if value is None:
        return "–"
    for size, prefix in _LARGE:
        if value >= size:
            return f"{significant(value / size)} {prefix}"
    return f"{value:,.0f}"
