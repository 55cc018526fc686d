"""Advice beside what a full search finds: are methods ranked right, and is the first the fastest?

``make bench-advise`` writes ``results/advise.md``. Advice and search begin with caches of their
own, so that neither knows what the other measured. Networks and samples are random; what is
compared is time, and whether answers stay what they were.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

import lepton_ai
from lepton_ai.graph.applying import free_inputs
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.onnx_file import load_graph
from lepton_ai.measure.machine import fingerprint
from lepton_ai.plan.advising.method import methods
from lepton_ai.plan.trial import Trial
from zoo import export

RESULTS = Path(__file__).parent / "results" / "advise.md"
NETWORKS = ("dlrm", "tcn", "mobilenet_v2", "resnet18", "bert", "convnext")
#: Samples, as far as they fit, and the size of what is free besides.
SAMPLES, MOST_BYTES, ELSEWHERE = 600, 1e8, 32
MAX_DROP = 0.1
#: How a search says that it dropped a trial for its time.
_SLOW = "slower than"
#: What two timings of one thing differ by: closer methods are not said to be in an order.
APART = 1.05


def main() -> None:
    """Compare what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="of the zoo; by default a few of each kind")
    parser.add_argument("--minutes", type=float, default=6.0, help="for each full search")
    parser.add_argument("--small", action="store_true", help="the sizes that tests can afford")
    options = parser.parse_args()
    rows = []
    for network in options.networks or NETWORKS:
        with tempfile.TemporaryDirectory(prefix="bench-advise-") as folder:
            row = compared(network, Path(folder), minutes=options.minutes, small=options.small)
        rows.append(row)
        print(f"# {json.dumps(row)}", file=sys.stderr, flush=True)
        if not (options.networks or options.small):  # what was measured is kept, come what may
            _write(page(rows, options.minutes))
    print(page(rows, options.minutes))


def compared(network: str, folder: Path, *, minutes: float, small: bool) -> dict[str, Any]:
    """One network: advice, a search, and how well the two agree."""
    path = export(network, folder, small=small)
    data = samples(path)
    budget = lepton_ai.Budget(max_drop=MAX_DROP, minutes=minutes)
    with cache(folder / "advice"):
        begin = time.monotonic()
        advice = lepton_ai.advise(path, data, metric="agreement", budget=budget)
        seconds = time.monotonic() - begin
    with cache(folder / "search"):
        begin = time.monotonic()
        found = lepton_ai.optimize(path, data, metric="agreement", budget=budget)
        searched = time.monotonic() - begin
    trials = [Trial.from_json(trial) for trial in found.tried]
    truth = best_of_each(trials)
    expected = {one.method: one.expected for one in advice.ranked if not one.against}
    both = [name for name in truth if name in expected]
    return {
        "network": network,
        "milliseconds": advice.facts.milliseconds,
        "advised": [one.method for one in advice.ranked if one.method in expected],
        "expected": expected,
        "found": truth,
        "winner": min(truth, key=lambda name: truth[name]),
        "shipped": found.best["name"],
        "seconds": seconds,
        "searched": searched,
        **agreement([expected[name] for name in both], [truth[name] for name in both]),
    }


def samples(path: Path) -> dict[str, np.ndarray]:
    """Random samples that the graph at ``path`` takes, as many as fit."""
    model = load_graph(path)
    sizes: dict[str, int] = {}
    for value in free_inputs(model):
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value:
                sizes[size.value] = 1 if axis == 0 else ELSEWHERE
    held = sum(array.nbytes for array in generate(model, sizes=[sizes])[0].values())
    count = int(max(100, min(SAMPLES, MOST_BYTES // held)))
    many = {name: count if size == 1 else size for name, size in sizes.items()}
    return generate(model, sizes=[many])[0]


def best_of_each(trials: Sequence[Trial]) -> dict[str, float]:
    """The time of each method that was tried, over the original's.

    Where it broke the budget the original is left: 1, or more if it was slower. What was dropped
    for being slower than the best has the time that it was dropped for.
    """
    found: dict[str, float] = {}
    for name, kind in methods.items():
        of_it = [t for t in trials if kind().covers(t.recipe) and t.ratio is not None]
        kept = [t.slowness for t in of_it if t.equal or _likely(t) <= MAX_DROP or _SLOW in t.why]
        if of_it:
            found[name] = min(kept, default=max(1.0, min(t.slowness for t in of_it)))
    return found


def _likely(trial: Trial) -> float:
    return math.inf if trial.likely_bound is None else trial.likely_bound


def agreement(expected: Sequence[float], found: Sequence[float]) -> dict[str, Any]:
    """Kendall's tau, and how many of the pairs that are apart are in the right order."""
    pairs = [
        ((expected[i] < expected[j]) == (found[i] < found[j]))
        for i, j in combinations(range(len(found)), 2)
        if max(found[i], found[j]) > APART * min(found[i], found[j])
    ]
    tau = float(kendalltau(expected, found).statistic) if len(found) > 1 else 1.0
    return {"tau": tau, "right": sum(pairs), "pairs": len(pairs)}


def page(rows: Sequence[Mapping[str, Any]], minutes: float) -> str:
    """The table, with how it was made."""
    machine = fingerprint()
    lines = [
        "# Advice beside full searches",
        "",
        f"`make bench-advise`, on {machine.cpu}, {machine.cores} cores "
        f"({', '.join(machine.isa)}). Searches of {minutes:g} minutes, {MAX_DROP:g} of agreement "
        "to lose, random networks and samples. Pairs: of the methods that both know and that are "
        f"more than {APART - 1:.0%} apart, how many are in the right order.",
        "",
        "| network | call, ms | advised first | was the fastest | its place in the advice "
        "| pairs right | Kendall's tau | advice, s | search, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        advised, winner = row["advised"], row["winner"]
        place = advised.index(winner) + 1 if winner in advised else "not in it"
        lines.append(
            f"| {row['network']} | {row['milliseconds']:.2f} "
            f"| {advised[0]} ({1 / row['expected'][advised[0]]:.2f}×) "
            f"| {winner} ({1 / row['found'][winner]:.2f}×) | {place} "
            f"| {row['right']} of {row['pairs']} | {row['tau']:.2f} "
            f"| {row['seconds']:.0f} | {row['searched']:.0f} |"
        )
    right, pairs = sum(r["right"] for r in rows), sum(r["pairs"] for r in rows)
    first = sum(r["advised"][0] == r["winner"] for r in rows)
    lines += [
        "",
        f"{right} of {pairs} pairs in order; first was fastest in {first} of {len(rows)}.",
    ]
    return "\n".join(lines)


def _write(text: str) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    scratch = RESULTS.with_suffix(".partial")
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(RESULTS)


@contextmanager
def cache(folder: Path) -> Iterator[None]:
    """Searches keep what they learn in ``folder`` while this lasts."""
    before = os.environ.get("LEPTON_CACHE")
    os.environ["LEPTON_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LEPTON_CACHE"]
        else:
            os.environ["LEPTON_CACHE"] = before


if __name__ == "__main__":
    main()
