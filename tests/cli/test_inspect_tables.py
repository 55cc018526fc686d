"""A report on the terminal, from records made by hand."""

import pytest

from lepton_ai.cli.inspect_tables import print_report
from lepton_ai.graph.graph_report import (
    Finding,
    Fit,
    GraphReport,
    NodeTime,
    OperatorRow,
    Parallelism,
    Profile,
    Refusal,
)


def row(operator, count=1, macs=0):
    return OperatorRow(
        operator=operator,
        count=count,
        parameters=0,
        macs=macs,
        bytes_read=2_000_000,
        bytes_written=2_000_000,
    )


def report(**parts):
    parallelism = Parallelism(nodes=3, longest_chain=2, work=9, span=6, ratio=1.5, branches=())
    record = {
        "name": "net",
        "opsets": {"": 17},
        "inputs": ("x: FLOAT [n,3]",),
        "outputs": ("y: FLOAT [n,3]",),
        "nodes": 3,
        "parameters": 12,
        "bytes": 3_000_000,
        "macs": 5_000_000,
        "uncounted": 0,
        "sizes": {},
        "operators": (row("MatMul", 2, 8_000_000), row("com.microsoft.Gelu")),
        "parallelism": parallelism,
        "findings": (),
    }
    return GraphReport(**{**record, **parts})


@pytest.fixture
def shown(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")

    def printed(**parts):
        print_report("net.onnx", report(**parts))
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return printed


def line_with(lines, words):
    (line,) = (line for line in lines if words in line)
    return line


def test_operators_and_their_share_of_the_time(shown):
    kernels = (
        NodeTime(kernel="a", operator="Gelu", milliseconds=3.0, nodes=()),
        NodeTime(kernel="b", operator="Reorder", milliseconds=1.0, nodes=()),
    )
    lines = shown(profile=Profile(engine="some", threads=1, milliseconds=4.0, kernels=kernels))
    assert line_with(lines, "MatMul").split() == ["MatMul", "2", "·", "8.00", "4.00", "4.00"]
    assert line_with(lines, "Gelu").split()[-1] == "75.0%"
    assert line_with(lines, "+ Reorder").split()[-1] == "25.0%"
    order = [lines.index(line_with(lines, name)) for name in ("Gelu", "MatMul", "+ Reorder")]
    assert order == sorted(order)


def test_kernels_too_short_for_the_clock_of_their_engine_have_no_share(shown):
    kernels = (NodeTime(kernel="a", operator="MatMul", milliseconds=0.0, nodes=()),)
    lines = shown(profile=Profile(engine="some", threads=1, milliseconds=0.0, kernels=kernels))
    assert "%" not in line_with(lines, "MatMul")


def test_operators_beyond_a_screen_are_summed(shown):
    rows = tuple(row(f"Op{place}", count=2) for place in range(20))
    assert line_with(shown(operators=rows), "and 4 more").split()[-1] == "8"


def test_findings_with_the_most_saving_come_first(shown):
    findings = tuple(
        Finding(kind="dead", nodes=("a",), sentence=f"number {i}", saved_nodes=1, saved_bytes=i)
        for i in (100, 4_000_000, 300, 2_000_000)
    )
    lines = shown(findings=findings)
    assert line_with(lines, "dead × 4").split()[-3:] == ["4", "·", "6.00"]
    told = [line.split()[-1] for line in lines if "number" in line]
    assert told == ["4000000", "2000000", "300"]
    assert line_with(lines, "and 1 more")


def test_who_takes_the_graph_and_who_does_not(shown):
    refusal = Refusal(node="pool", operator="AveragePool", reason="too large", unlocked_by="shrink")
    fits = (
        Fit(engine="one", takes=True, why="one takes the graph as it is"),
        Fit(engine="two", takes=False, why="two refuses 1 node: too large", refusals=(refusal,),
            takes_rewritten=True),
        Fit(engine="three", takes=False, why="three has no memory", takes_rewritten=False),
    )  # fmt: skip
    lines = shown(fits=fits)
    assert "  one takes the graph as it is" in lines
    assert "  two refuses 1 node, and takes it rewritten" in lines
    assert "    AveragePool pool: too large; unlocked by shrink" in lines
    assert "  three has no memory, rewritten too" in lines


def test_branches_groups_and_notes(shown):
    groups = tuple(tuple(f"g{g}b{b}" for b in range(6)) for g in range(5))
    parallelism = Parallelism(nodes=9, longest_chain=2, work=9, span=6, ratio=1.5, branches=groups)
    lines = shown(parallelism=parallelism, notes=("mind the gap",))
    assert "  ┌ g0b0" in lines
    assert "  │ g0b3" in lines
    assert lines.count("  │ and 2 more") == 3
    assert "  and 2 more groups; --json lists them" in lines
    assert "note: mind the gap" in lines
