import io

from rich.console import Console

from lepton_ai import Budget
from lepton_ai.cli.advise_table import facts_in_words, table
from lepton_ai.plan.advising.advice import Advice
from lepton_ai.plan.advising.facts import Facts, GraphFacts, Piece, SampleCounts
from lepton_ai.plan.advising.method import DERIVED, MEASURED, Estimate


def piece(operator: str, share: float) -> Piece:
    return Piece(
        operator=operator,
        share=share,
        nodes=(),
        intensity=None,
        removable=False,
        redundant=False,
    )


def advice(**changes) -> Advice:
    facts = Facts(
        engine="onnxruntime",
        milliseconds=5.25,
        isa=("avx2", "avx512_vnni"),
        budget=Budget(),
        samples=SampleCounts(
            calibrate=30, tune=70, certify=100, teach=30, certifiable=0.0316, needed=330
        ),
        precisions={"onnxruntime": ("fp32",)},
        trials=(),
        graph=GraphFacts(
            nodes=1234,
            macs=2_000_000,
            bytes=4_000_000,
            float_bytes=3_900_000,
            table_bytes=975_000,
            product_bytes=2_925_000,
            intensity=12.5,
            findings=0,
        ),
        pieces=(piece("Conv", 0.5), piece("Softmax", 0.2), piece("Conv", 0.3)),
        profiled_in="onnxruntime",
        noise=None,
        teachable=None,
        seconds={},
    )
    ranked = (
        Estimate(
            method="slim",
            ratio=0.5,
            bytes_ratio=0.6,
            minutes=3.25,
            chance=0.5,
            basis=DERIVED,
            reasons=("80% can go", "it can be taught"),
        ),
        Estimate(method="another-engine", ratio=2.0, chance=1.0, equal=True, basis=MEASURED),
        Estimate(method="int8-mended", against="[int8] needs no mending"),
    )
    told = {"model": "net", "metric": "accuracy", "machine": {}, "seconds": 41.4}
    return Advice(**{"facts": facts, "ranked": ranked, **told, **changes})


def printed(it: Advice) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(table(it))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_methods_come_in_their_order_with_what_to_expect_of_them():
    lines = [line for line in printed(advice()).splitlines() if line.startswith("│")]
    assert "1 │ slim" in lines[0]
    for cell in ("2.00×", "60%", "50%", "3.2", "derived", "80% can go; it can be taught"):
        assert cell in lines[0]
    assert "2 │ another-engine" in lines[1]
    assert "0.50×" in lines[1]
    assert "· │ int8-mended" in lines[2]
    assert "[int8] needs no mending" in lines[2]


def test_what_a_plug_in_says_cannot_steer_the_terminal():
    odd = Estimate(method="odd", chance=1.0, reasons=("\x1b[2J[bold]loud[/bold]",))
    text = printed(advice(ranked=(odd,)))
    assert "\x1b" not in text
    assert "[bold]loud[/bold]" in text


def test_facts_are_told_in_lines():
    lines = list(facts_in_words(advice()))
    assert lines[0] == "net: 5.25 ms a call in onnxruntime"
    assert "1,234 nodes, 4.0 MB (25% of the weights in tables)" in lines[1]
    assert "12.5 FLOP per byte" in lines[1]
    assert lines[2] == "time: 80% Conv, 20% Softmax (profile of onnxruntime)"
    assert "avx512_vnni" in lines[3]
    assert "100 to certify on: a drop of 0.0316 of accuracy at the least" in lines[4]
