"""Graph rewriting beside its peers: nodes, bytes, and median latency in two engines.

``make bench-graph`` prints the tables of docs/benchmarks.md. For each network of the zoo, the graph
as exported, what each peer makes of it, and what ``lepton rewrite`` makes of it for each engine run
in turns in processes of their own, on the same generated call. Two processes that loaded the same
graph can differ by more than two graphs do, so each race is run :data:`ROUNDS` times from new
processes; a figure is the median of its rounds, and what the input graph differs by from process to
process, two of them in each round, is the noise of its row.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx

import lepton_ai
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import LeptonError
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.onnx_file import load_graph, operator_counts
from lepton_ai.measure.latency import race
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.measurement import Latency
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.pipeline.rewrite import SAME
from peers import PEERS
from zoo import architectures, export

ENGINES = ("onnxruntime", "openvino")
INPUT, OURS = "input", "Lepton"
#: The input graph a second time: what it differs by from the first is noise.
TWIN = "input again"
ROUNDS = 3
PEER_SECONDS = 300
SIZES = (200, 2_000, 20_000)


def main() -> None:
    """Measure every network that was asked for; print two tables and a summary."""
    options = _options()
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-graph-") as folder:
        for name in options.networks or architectures():
            row = measure(name, Path(folder), seconds=options.seconds, small=options.small)
            rows.append(row)
            print(f"# {json.dumps(row)}", file=sys.stderr, flush=True)
    print(f"{fingerprint().cpu}, {fingerprint().cores} cores\n")
    print("\n".join(_nodes_table(rows)))
    print("\n".join(["", *_bytes_table(rows)]))
    for engine in ENGINES:
        print("\n".join(["", *_latency_table(rows, engine)]))
    print("\n".join(["", *_summary(rows)]))
    if not options.networks:
        print("\n".join(["", *_cost_table()]))


def measure(name: str, folder: Path, *, seconds: float, small: bool) -> dict[str, Any]:
    """One network's numbers, by engine and tool."""
    source = export(name, folder, small=small)
    made: dict[str, Path | str] = {INPUT: source}
    for peer in PEERS:
        made[peer] = _by_peer(peer, source, folder / f"{name}.{peer.replace(' ', '-')}.onnx")
    nodes: dict[str, Any] = {}
    for tool, path in made.items():
        nodes[tool] = _nodes(path) if isinstance(path, Path) else path
    row: dict[str, Any] = {"network": name, "p50": {}, "noise": {}, "kept": {}}
    call = generate(load_graph(source))[0]
    for engine in ENGINES:
        ours = folder / f"{name}.{engine}.onnx"
        report = lepton_ai.rewrite(source, ours, engine=engine)
        row["kept"][engine] = [step.name for step in report.steps if step.kept]
        standard = report.steps[0]
        nodes[OURS] = standard.rewriting.nodes_after
        row["rolled_back"] = len(standard.rewriting.rolled_back)
        graphs = {**made, OURS: ours, TWIN: source}
        rounds = [_race(graphs, engine, call, seconds / ROUNDS) for _ in range(ROUNDS)]
        times = {tool: [times[tool].p50_ms for times in rounds] for tool in rounds[0]}
        row["p50"][engine] = {tool: statistics.median(taken) for tool, taken in times.items()}
        row["noise"][engine] = _noise([*times.get(INPUT, ()), *times.get(TWIN, ())])
        row.setdefault("bytes", {})[engine] = report.bytes_after
    row["bytes"] |= {
        tool: path.stat().st_size for tool, path in made.items() if isinstance(path, Path)
    }
    row["nodes"] = nodes
    return row


def _by_peer(peer: str, source: Path, target: Path) -> Path | str:
    """The peer's graph, made in a process of its own; or why there is none."""
    command = [sys.executable, "-c", _RUN_PEER, peer, str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_SECONDS)
    except subprocess.TimeoutExpired:
        return "too slow"
    return target if done.returncode == 0 and target.exists() else "fails"


_RUN_PEER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from peers import PEERS
PEERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
"""


def _nodes(path: Path) -> int:
    return operator_counts(load_graph(path)).total()


def _race(
    graphs: Mapping[str, Path | str], engine: str, call: Any, seconds: float
) -> dict[str, Latency]:
    """Every graph that ``engine`` takes, in turns."""
    plan = EnginePlan(threads=fingerprint().cores)
    runners: dict[str, Runner] = {}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for tool, path in graphs.items():
            if isinstance(path, str):
                continue
            try:
                runner = ProcessRunner(engine, path, plan, Path(folder) / "log", deadline=120.0)
                stack.callback(runner.close)
                runner.answer([call])
            except LeptonError:
                continue
            runners[tool] = runner
        return race(runners, [call], seconds=seconds) if runners else {}


def _nodes_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    tools = [INPUT, *PEERS, OURS]
    yield "| nodes (standard operators) | " + " | ".join(tools) + " |"
    yield "|---" * (len(tools) + 1) + "|"
    for row in rows:
        yield f"| {row['network']} | " + " | ".join(str(row["nodes"][t]) for t in tools) + " |"


def _bytes_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    tools = [INPUT, *PEERS, *(f"{OURS}, {engine}" for engine in ENGINES)]
    yield "| MB | " + " | ".join(tools) + " |"
    yield "|---" * (len(tools) + 1) + "|"
    for row in rows:
        held = row["bytes"] | {f"{OURS}, {engine}": row["bytes"][engine] for engine in ENGINES}
        cells = [f"{held[tool] / 1e6:.2f}" if tool in held else "fails" for tool in tools]
        yield f"| {row['network']} | " + " | ".join(cells) + " |"


def _latency_table(rows: list[dict[str, Any]], engine: str) -> Iterator[str]:
    tools = [INPUT, *PEERS, OURS]
    yield f"| p50 ms in {engine} | " + " | ".join(tools) + " | noise | kept |"
    yield "|---" * (len(tools) + 3) + "|"
    for row in rows:
        times = row["p50"][engine]
        cells = [f"{times[tool]:.3f}" if tool in times else "refused" for tool in tools]
        more = [f"{row['noise'][engine]:.1%}", _gain(row, engine)]
        yield f"| {row['network']} | " + " | ".join([*cells, *more]) + " |"


def _gain(row: dict[str, Any], engine: str) -> str:
    """The rewrites that were kept, and whether they gained more than the noise."""
    kept = ", ".join(row["kept"][engine])
    times = row["p50"][engine]
    if not kept:
        return "nothing: it is the input graph"
    if INPUT in times and times[OURS] > times[INPUT] * (1 - row["noise"][engine]):
        return f"{kept}: no gain beyond the noise"
    return kept


def _summary(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The better engine before against the better engine after, network by network."""
    logs = []
    for row in rows:
        best = {
            tool: min((times[tool] for times in row["p50"].values() if tool in times), default=None)
            for tool in (INPUT, OURS)
        }
        if best[INPUT] is None or best[OURS] is None:
            yield f"{row['network']}: no engine runs it"
            continue
        ratio = best[OURS] / best[INPUT]
        logs.append(math.log(ratio))
        yield f"- {row['network']}: {best[INPUT]:.3f} → {best[OURS]:.3f} ms, {ratio:.3f}"
    if logs:
        mean = math.exp(sum(logs) / len(logs))
        yield f"\nGeometric mean of after over before, better engine: {mean:.3f}"
    for row in rows:
        yield from _shortfalls(row)


def _shortfalls(row: dict[str, Any]) -> Iterator[str]:
    """Where ours is slower than another beyond the noise of its race, or has more nodes."""
    for engine, times in row["p50"].items():
        if OURS not in times:
            yield f"- {row['network']} in {engine}: what Lepton wrote does not run"
            continue
        noise = row["noise"][engine]
        for tool, taken in times.items():
            if times[OURS] > taken * (1 + noise):
                yield (
                    f"- {row['network']} in {engine}: {times[OURS] / taken:.3f} times as slow as "
                    f"{tool}, where processes with the same graph differ by {noise:.1%}"
                )
    counts = [count for count in row["nodes"].values() if isinstance(count, int)]
    if row["nodes"][OURS] > min(counts):
        yield f"- {row['network']}: more nodes than the best"


def _noise(times: Sequence[float]) -> float:
    """What processes with the same graph differ by: the middle half of them, over the median.

    At least :data:`SAME`, and that where fewer than two ran.
    """
    if len(times) < 2:
        return SAME
    low, middle, high = statistics.quantiles(times, n=4)
    return max(SAME, (high - low) / middle)


def _cost_table() -> Iterator[str]:
    """Seconds to inspect and to rewrite (without the gate) graphs of growing length."""
    from lepton_ai.graph.inspection.inspect import inspect_graph
    from lepton_ai.graph.rewrite import rules_of
    from lepton_ai.graph.rewriting import rewrite_graph

    yield "| nodes | inspect s | µs per node | rewrite s | µs per node |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            path = Path(folder) / f"{size}.onnx"
            onnx.save(_long(size), path)
            begun = time.perf_counter()
            inspect_graph(path)
            inspected = time.perf_counter() - begun
            begun = time.perf_counter()
            rewrite_graph(load_graph(path), rules_of("standard"))
            rewritten = time.perf_counter() - begun
            yield (
                f"| {size:,} | {inspected:.2f} | {inspected / size * 1e6:.0f} "
                f"| {rewritten:.2f} | {rewritten / size * 1e6:.0f} |"
            )


def _long(size: int) -> onnx.ModelProto:
    """A residual network of about ``size`` nodes, with something redundant in each block."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = [
        numpy_helper.from_array(np.eye(8, dtype=np.float32), "weight"),
        numpy_helper.from_array(np.full(8, 0.1, np.float32), "bias"),
    ]
    nodes, x = [], "x"
    for block in range(size // 10):
        of = [f"{block}_{part}" for part in range(10)]
        nodes += [
            helper.make_node("MatMul", [x, "weight"], [of[0]]),
            helper.make_node("Add", [of[0], "bias"], [of[1]]),
            helper.make_node("Relu", [of[1]], [of[2]]),
            helper.make_node("Identity", [of[2]], [of[3]]),
            helper.make_node("Transpose", [of[3]], [of[4]], perm=[1, 0]),
            helper.make_node("Transpose", [of[4]], [of[5]], perm=[1, 0]),
            helper.make_node("Cast", [of[5]], [of[6]], to=TensorProto.FLOAT),
            helper.make_node("Sigmoid", [of[0]], [of[7]]),
            helper.make_node("Mul", [of[6], of[7]], [of[8]]),
            helper.make_node("Add", [of[8], x], [of[9]]),
        ]
        x = of[9]
    graph = helper.make_graph(
        nodes,
        "long",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", 8])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="networks of the zoo; all by default")
    parser.add_argument("--seconds", type=float, default=1.5, help="on the clock, each graph")
    parser.add_argument("--small", action="store_true", help="the sizes that tests use")
    return parser.parse_args()


if __name__ == "__main__":
    main()
