"""The nodes of the branches that a report names by their first and last one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: A chain in words: its first node, its last one, and how many they are.
_CHAIN = re.compile(r"(.*) → (.*) \(\d+ nodes\)", re.DOTALL)


@dataclass(frozen=True)
class Branches:
    """Chains that can run side by side, in words, and the places of their nodes."""

    chains: list[str]
    nodes: list[int]


def read_branches(
    group: Sequence[str],
    places: Mapping[str, Sequence[int]],
    nodes: Sequence[Mapping[str, Any]],
) -> Branches:
    """The branches of ``group``; ``places`` are those of the nodes by name."""
    found: dict[int, None] = {}
    for chain in group:
        ends = _CHAIN.fullmatch(chain)
        if chain not in places and ends:
            firsts, lasts = places.get(ends[1], ()), places.get(ends[2], ())
            if firsts and lasts:
                found |= dict.fromkeys(_between(firsts[0], lasts[0], nodes))
        else:
            found |= dict.fromkeys(places.get(chain, ()))
    return Branches(list(group), list(found))


def _between(first: int, last: int, nodes: Sequence[Mapping[str, Any]]) -> list[int]:
    """The nodes on the ways from one node to another, in their order."""
    before, waiting = {last}, [last]
    while waiting:
        for producer in nodes[waiting.pop()]["inputs"]:
            if first <= producer and producer not in before:
                before.add(producer)
                waiting.append(producer)
    after = {first}
    for node in sorted(before):
        if any(producer in after for producer in nodes[node]["inputs"]):
            after.add(node)
    return sorted(after & before | {first, last})
