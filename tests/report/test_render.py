import copy
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_ai.report.render import SECTIONS, render

VOID = {"meta", "line", "path", "circle"}


def measured(p50: float, megabytes: float, score: float, drop: float) -> dict[str, Any]:
    return {
        "latency": {
            "p50_ms": p50,
            "p90_ms": 1.1 * p50,
            "p99_ms": 1.3 * p50,
            "low_ms": 0.97 * p50,
            "high_ms": 1.03 * p50,
            "runs": 200,
        },
        "throughput": 1000 / p50,
        "bytes_on_disk": int(megabytes * 1e6),
        "bytes_to_transfer": int(megabytes * 0.8e6),
        "peak_memory_mb": 200.0,
        "load_seconds": 0.2,
        "score": score,
        "drop": drop,
        "samples": 1_000,
        "machine": "0123456789ab",
    }


def trial(name: str, verdict: str, why: str, measurement: dict[str, Any] | None) -> dict[str, Any]:
    return {"name": name, "recipe": {}, "verdict": verdict, "why": why, "measurement": measurement}


def record() -> dict[str, Any]:
    best = trial("int8-dynamic · onnxruntime · 2 threads", "shipped", "fastest that holds", None)
    best |= {"measurement": measured(3.4, 23.1, 0.7975, 0.0025), "speedup": 6.5}
    front = trial("bf16 · openvino", "front", "nearly equal", measured(6.5, 91, 0.8, 0.0001))
    lost = trial("int8-static-ort", "rejected", "1.7× slower", measured(20.7, 24, 0.76, 0.039))
    refused = trial("int8-dynamic · openvino", "failed", "MatMulInteger is refused", None)
    return {
        "schema": 1,
        "name": "sentiment",
        "status": "MET",
        "why": "the certificate holds",
        "metric": {"name": "accuracy", "describe": "share of right answers"},
        "budget": {"max_drop": 0.01, "max_latency_ms": None, "minutes": 10.0, "confidence": 0.95},
        "baseline": {"name": "PyTorch eager", "measurement": measured(22.1, 91.2, 0.8, 0.0)},
        "plain": [{"name": "fp32 · onnxruntime", "latency": {"p50_ms": 10.2}}],
        "best": best,
        "front": [best, front],
        "tried": [refused, lost, front, best],
        "certificate": {
            "metric": "accuracy",
            "claim": "On 9,000 unseen samples, accuracy drops by at most 0.46 points.",
            "drop": 0.0025,
            "bound": 0.00451,
            "max_drop": 0.01,
            "holds": True,
            "confidence": 0.95,
            "alpha": 0.04,
            "n": 9_000,
            "changed": 57,
            "losses": 40,
            "gains": 17,
            "method": "exact paired test",
            "exact": True,
            "equal": False,
            "more_samples_needed": None,
            "isa": ["avx2", "avx512_vnni"],
            "engines": {"onnxruntime": "1.32.0"},
        },
        "bundle": "out dir/net.lepton",
        "machine": {"cpu": "A CPU", "cores": 2, "isa": ["avx2"], "memory_bytes": 25_000_000_000},
        "seconds": 312.4,
        "samples": {"calibrate": 512, "tune": 4_000, "certify": 9_000},
        "rewrites": [
            {
                "name": "standard",
                "fired": ["fold-constants: computed once (14 x)"],
                "rolled_back": [
                    {"rule": "planted", "nodes": ["a <node>"], "why": "differs by 0.1"}
                ],
                "near_misses": [
                    {"rule": "fold-pad", "why": "it reflects", "count": 2, "nodes": ["p1", "p2"]}
                ],
                "failed": ["rewrite rule 'broken' failed"],
                "equal": True,
                "why": "differs by 1e-6",
                "nodes_before": 412,
                "nodes_after": 338,
            }
        ],
        "notes": ["token types were folded"],
    }


class _Balance(HTMLParser):
    """Fails on a tag that closes another; collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> _Balance:
    parser = _Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def words(page: str) -> str:
    return " ".join(read(page).words)


def test_every_section_of_a_full_record_is_there_and_well_formed() -> None:
    found = read(render(record()))
    assert found.tags.count("h2") == 8
    assert found.tags.count("svg") == 1
    assert all(section(record()) for section in SECTIONS)


def test_the_numbers_that_people_ask_for_are_on_the_page() -> None:
    said = words(render(record()))
    for wanted in (
        "Budget met",
        "6.50×",
        "3.40 ms",
        "22.1 ms",
        "25 %",
        "95 %",
        "9,000",
        "40, 17",
        "drops by at most 0.46 points",
        "MatMulInteger is refused",
        "412 → 338 nodes",
        "fold-constants: computed once (14 x)",
        "planted at a <node>: differs by 0.1",
        "fold-pad: it reflects (2 nodes, p1, p2)",
        "left out: rewrite rule 'broken' failed",
        "25.0 GB",
        "what ships is 3.00× as fast",
        "token types were folded",
    ):
        assert wanted in said, wanted


def test_a_bound_is_rounded_up() -> None:
    assert "≤ 0.0046" in words(render(record()))


def test_the_commands_can_be_pasted() -> None:
    said = words(render(record()))
    assert (
        "$ lepton optimize sentiment --data DATA --metric accuracy --max-drop 0.01 --minutes 10 "
        "--confidence 0.95 --output 'out dir/net.lepton'"
    ) in said
    assert "$ lepton verify 'out dir/net.lepton'" in said


def test_recipes_are_listed_from_shipped_to_failed() -> None:
    said = words(render(record()))
    listed = said[said.index("What was tried") :]
    places = [listed.index(why) for why in ("fastest that", "nearly", "1.7×", "MatMulInteger")]
    assert places == sorted(places)


def test_the_page_fetches_and_runs_nothing() -> None:
    found = read(render(record()))
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert not {"src", "href"} & set(found.attributes)
    assert not any(name.startswith("on") for name in found.attributes)
    assert "url(" not in render(record())


def _poisoned(value: Any, poison: str) -> Any:
    if isinstance(value, dict):
        return {key: _poisoned(inner, poison) for key, inner in value.items()}
    if isinstance(value, list):
        return [_poisoned(inner, poison) for inner in value]
    return poison if isinstance(value, str) else value


@pytest.mark.parametrize(
    "poison", ["<script>alert(1)</script>", "\"'><img src=x onerror=a>", "&lt;"]
)
def test_text_from_anywhere_in_the_record_is_harmless(poison: str) -> None:
    page = render(_poisoned(record(), poison))
    found = read(page)
    assert not {"script", "img"} & set(found.tags)
    assert not {"src", "onerror"} & set(found.attributes)
    assert poison in words(page)


def test_a_missed_budget_without_an_artifact_says_so() -> None:
    missed = record() | {"status": "MISSED", "why": "nothing kept the budget", "best": None}
    missed |= {"certificate": None, "bundle": None}
    said = words(render(missed))
    assert "Budget missed" in said
    assert "nothing kept the budget" in said
    assert "Certificate" not in said
    assert "lepton serve" not in said


def test_an_equal_artifact_is_called_equal() -> None:
    equal = record()
    equal["certificate"] |= {"equal": True, "bound": 0.0, "claim": "It is equal."}
    said = words(render(equal))
    assert "by the equivalence gate" in said
    assert "Samples compared" in said


def _pieces(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in steps:
        found.append((*path, key))
        if isinstance(inner, dict | list):
            found += _pieces(inner, (*path, key))
    return found


@pytest.mark.parametrize("instead", [None, "absent", [], {}, float("nan"), -1, True])
def test_any_piece_may_be_missing_or_of_another_kind(instead: Any) -> None:
    for path in _pieces(record()):
        broken = copy.deepcopy(record())
        holder = broken
        for key in path[:-1]:
            holder = holder[key]
        if instead == "absent" and isinstance(holder, dict):
            del holder[path[-1]]
        else:
            holder[path[-1]] = instead
        read(render(broken))


def test_an_empty_record_gives_a_page() -> None:
    assert "model" in words(render({}))


def test_the_same_record_gives_the_same_page_through_json() -> None:
    assert render(json.loads(json.dumps(record()))) == render(record())


numbers = st.floats(1e-6, 1e6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(numbers, st.floats(-1, 1)), max_size=6), st.none() | st.floats(0, 1))
def test_every_point_is_drawn_inside_the_plot(
    pairs: list[tuple[float, float]], max_drop: float | None
) -> None:
    changed = record()
    changed["budget"]["max_drop"] = max_drop
    changed["tried"] += [
        trial(f"recipe {index}", "rejected", "", measured(time, 10, 0.5, drop))
        for index, (time, drop) in enumerate(pairs)
    ]
    page = render(changed)
    drawing = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert len(drawing.findall("g")) == len(pairs) + 4
    for line in drawing.iter("line"):
        assert 0 <= float(line.attrib["x1"]) <= float(line.attrib["x2"]) <= 760.1
        assert 0 <= float(line.attrib["y1"]) <= 380
        assert 0 <= float(line.attrib["y2"]) <= 380
