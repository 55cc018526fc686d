import base64
import hashlib
import json
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lepton_ai.report.picture.page import graph_page

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<!--"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def node(at: int, operator: str = "Relu", **changed: Any) -> dict[str, Any]:
    plain = {
        "index": at,
        "name": f"node {at}",
        "operator": operator,
        "block": (),
        "inputs": [at - 1] if at else [],
        "reads": [] if at else [0],
        "within": None,
        "body": "",
        "shapes": ["FLOAT [n,64]"],
        "macs": 0,
    }
    return plain | changed


def outline(*nodes: dict[str, Any], **changed: Any) -> dict[str, Any]:
    last = max((one["index"] for one in nodes if one["within"] is None), default=None)
    plain = {
        "name": "net",
        "inputs": [{"name": "x", "shape": "FLOAT [n,64]"}],
        "outputs": [{"name": "y", "shape": "FLOAT [n,64]", "node": last}],
        "nodes": list(nodes),
    }
    return plain | changed


def blocks(count: int = 4, size: int = 4) -> dict[str, Any]:
    return outline(*(node(at, block=(f"block {at // size}",)) for at in range(count * size)))


def report(**changed: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": "net",
        "nodes": 3,
        "parameters": 11_689_512,
        "macs": 1_820_000_000,
        "bytes": 46_800_000,
        "parallelism": {"ratio": 1.5, "branches": []},
        "findings": [],
        "profile": None,
        "fits": [],
    }
    return plain | changed


def kernel(milliseconds: float, *nodes: str) -> dict[str, Any]:
    return {
        "kernel": f"kernel of {nodes}",
        "operator": "Conv",
        "milliseconds": milliseconds,
        "nodes": nodes,
    }


def profile(*kernels: dict[str, Any]) -> dict[str, Any]:
    total = sum(one["milliseconds"] for one in kernels)
    return {"engine": "openvino", "threads": 2, "milliseconds": total, "kernels": kernels}


def finding(*nodes: str, sentence: str = "it changes nothing") -> dict[str, Any]:
    return {"kind": "no-op", "nodes": nodes, "sentence": sentence, "saved_nodes": len(nodes)}


class Reader(HTMLParser):
    """All elements of a page with their attributes, and the text in each kind of them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._inside, []).append(data)

    def classes(self, identity: str) -> set[str]:
        found = [a for _, a in self.elements if a.get("id") == identity]
        assert len(found) == 1, f"{identity} is there {len(found)} times"
        return set((found[0]["class"] or "").split())


def drawn(page: str) -> ET.Element:
    """The drawing, parsed as the XML that it is but for unquoted classes."""
    start = page.index('<svg id="graph"')
    markup = page[start : page.index("</svg>", start) + 6].replace("class=a", 'class="a"')
    return ET.fromstring(markup)


def held(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return dict(json.loads(found[1]))


def badge(page: str, identity: str) -> list[str]:
    group = next(one for one in drawn(page).iter("g") if one.get("id") == identity)
    return [text.text or "" for one in group.findall("g[@class='d']") for text in one.iter("text")]


def test_the_facts_and_the_nodes_are_there() -> None:
    page = graph_page(report(), outline(node(0, "Conv"), node(1), node(2, "Softmax")))
    for told in ("11.7 M", "1.82 G", "46.8 MB", "1.50×", "n×64"):
        assert told in page
    words = [text.text for text in drawn(page).iter("text")]
    assert [word for word in ("x", "Conv", "Relu", "Softmax", "y") if word not in words] == []
    assert {"fp"} < Reader(page).classes("n0")


def test_the_same_records_give_the_same_page() -> None:
    record = report(profile=profile(kernel(1.0, "node 0")), findings=[finding("node 1")])
    assert graph_page(record, blocks()) == graph_page(record, blocks())


def test_time_is_told_and_colours_the_nodes() -> None:
    times = profile(kernel(9.0, "node 0"), kernel(0.004, "node 1"), kernel(1.0, "node 3"))
    page = graph_page(report(profile=times), outline(*(node(at) for at in range(4))))
    shades = [Reader(page).classes(f"n{at}") & {f"t{s}" for s in "u012345"} for at in range(4)]
    assert shades == [{"t5"}, {"t0"}, {"tu"}, {"t4"}]
    assert held(page)["nodes"][0][4] == "9.00 ms, 90 %"
    assert "one call in openvino, 2 threads" in page


def test_a_kernel_of_several_nodes_is_the_time_of_those_that_multiply() -> None:
    nodes = (node(0, "Conv", macs=100), node(1), node(2, "Add"), node(3, "Mul"))
    times = profile(kernel(2.0, "node 0", "node 1"), kernel(1.0, "node 2", "node 3"))
    told = held(graph_page(report(profile=times), outline(*nodes)))["nodes"]
    assert [one[4] for one in told] == ["2.00 ms, 67 %", "", "0.500 ms, 17 %", "0.500 ms, 17 %"]
    assert [one[5] for one in told] == [2, 2, 2, 2]


def test_without_a_profile_all_is_grey() -> None:
    page = graph_page(report(), blocks())
    assert all("tu" in Reader(page).classes(f"n{at}") for at in range(16))
    assert "time not measured" in page


def test_findings_are_listed_and_marked() -> None:
    record = report(findings=[finding("node 1", "node 9"), finding("node 1"), finding("weight")])
    page = graph_page(record, blocks())
    assert badge(page, "n1") == ["2"]
    assert badge(page, "n9") == ["1"]
    assert badge(page, "n0") == []
    assert badge(page, "b1") == ["2"]
    assert held(page)["keys"] == {"f0": [1, 9], "f1": [1], "f2": []}
    assert page.count("it changes nothing") == 3
    assert "1 node fewer" in page


def test_two_nodes_of_one_name_are_both_marked() -> None:
    page = graph_page(
        report(findings=[finding("same")]), outline(node(0, name="same"), node(1, name="same"))
    )
    assert badge(page, "n0") == badge(page, "n1") == ["1"]


def test_what_an_engine_refuses_is_marked_with_its_reason() -> None:
    refusal = {"node": "node 1", "operator": "AveragePool", "reason": "kernel too large"}
    fits = [
        {"engine": "onnxruntime", "takes": True, "why": "", "refusals": []},
        {
            "engine": "openvino",
            "takes": False,
            "why": "one node",
            "refusals": [refusal | {"unlocked_by": "pool_to_global"}],
            "takes_rewritten": True,
        },
    ]
    page = graph_page(report(fits=fits), outline(node(0), node(1)))
    assert "r" in Reader(page).classes("n1")
    assert "r" not in Reader(page).classes("n0")
    assert "kernel too large; pool_to_global unlocks it" in page
    assert "takes it rewritten" in page


def test_branches_are_listed_and_the_nodes_between_their_ends_found() -> None:
    record = outline(
        node(0),
        node(1, inputs=[0]),
        node(2, inputs=[1]),
        node(3, inputs=[2]),
        node(4, inputs=[0]),
        node(5, inputs=[3, 4]),
    )
    groups = [["node 1 → node 3 (3 nodes)", "node 4"], ["gone → node 3 (9 nodes)"]]
    page = graph_page(report(parallelism={"ratio": 2.0, "branches": groups}), record)
    keys = held(page)["keys"]
    assert (keys["p0"], keys["p1"]) == ([1, 2, 3, 4], [])
    assert "node 1 → node 3 (3 nodes) ∥ node 4" in page


def test_notes_are_told() -> None:
    assert "no engine was asked" in graph_page(report(notes=["no engine was asked"]), blocks())


def test_hostile_names_stay_text() -> None:
    bad = node(
        0, HOSTILE, name=HOSTILE, block=(HOSTILE, HOSTILE), shapes=[HOSTILE], reads=[0], inputs=[]
    )
    others = [node(at, block=(HOSTILE, HOSTILE)) for at in range(1, 4)]
    record = outline(
        bad,
        *others,
        name=HOSTILE,
        inputs=[{"name": HOSTILE, "shape": HOSTILE}],
        outputs=[{"name": HOSTILE, "shape": HOSTILE, "node": 3}],
    )
    refusal = {"node": HOSTILE, "operator": HOSTILE, "reason": HOSTILE, "unlocked_by": HOSTILE}
    told = report(
        name=HOSTILE,
        findings=[finding(HOSTILE, sentence=HOSTILE) | {"kind": HOSTILE}],
        fits=[{"engine": HOSTILE, "takes": False, "why": HOSTILE, "refusals": [refusal]}],
        profile=profile(kernel(1.0, HOSTILE) | {"kernel": HOSTILE}) | {"engine": HOSTILE},
    )
    for page in (graph_page(told, record), graph_page(told, many(record))):
        tags = {tag for tag, _ in Reader(page).elements}
        assert "img" not in tags
        assert [tag for tag, _ in Reader(page).elements].count("script") == 2
        assert not any(name.startswith("on") for _, a in Reader(page).elements for name in a)
        assert held(page)["nodes"][0][0] == HOSTILE
        drawn(page)


def many(record: dict[str, Any]) -> dict[str, Any]:
    """The same with so many nodes behind it that blocks are closed when the page opens."""
    names = [("far", f"{at // 40}", f"{at // 8}") for at in range(400)]
    more = [node(at + 4, block=name) for at, name in enumerate(names)]
    return record | {"nodes": [*record["nodes"], *more]}


def test_only_its_own_script_may_run_and_nothing_is_fetched() -> None:
    page = graph_page(report(), blocks())
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = next(a["content"] for t, a in Reader(page).elements if "http-equiv" in a)
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    addresses = set(re.findall(r"https?://[^\s\"']+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nothing is fetched from
    assert not any({"src", "href"} & set(a) for _, a in Reader(page).elements)


def test_one_node_and_none() -> None:
    assert "Relu" in graph_page(report(), outline(node(0)))
    nothing = outline(outputs=[{"name": "y", "shape": "FLOAT [2]", "node": None}])
    assert len(drawn(graph_page({}, nothing)).findall(".//text")) == 2


def test_a_bare_report_will_do() -> None:
    page = graph_page({}, blocks())
    assert "Nothing redundant was found" in page
    assert "net" in page


def test_bodies_are_drawn_in_the_node_that_runs_them() -> None:
    record = outline(
        node(0),
        node(1, "If"),
        node(2, inputs=[0], within=1, body="then_branch"),
        node(3, inputs=[], reads=[0], within=1, body="else_branch"),
    )
    page = graph_page(report(findings=[finding("node 1")]), record)
    words = [text.text for text in drawn(page).iter("text")]
    assert "▾ If" in words
    assert "▾ then_branch" in words
    data = held(page)
    frame = data["nodes"][1][6]
    assert data["scenes"][frame][4][0] == 1
    assert badge(page, f"b{frame}") == ["1"]


def test_large_graphs_open_at_a_readable_size() -> None:
    names = [(f"a{at // 100}", f"b{at // 10}") for at in range(1_000)]
    page = graph_page(report(), outline(*(node(at, block=name) for at, name in enumerate(names))))
    seen = [g for g in drawn(page).iter("g") if g.get("class", "").split()[:1] in (["n"], ["b"])]
    assert 10 <= len(seen) <= 70
    assert page.count("<template") >= 100
    identities = [a["id"] for _, a in Reader(page).elements if a.get("id", "")]
    assert len(identities) == len(set(identities))
    assert sum(bool(re.fullmatch(r"n\d+", str(one))) for one in identities) == 1_000


def test_twenty_thousand_nodes_stay_below_ten_megabytes() -> None:
    """A twentieth of them, with names as long as exporters give, below a twentieth of that."""
    rng = random.Random(0)
    nodes = [
        node(
            at,
            name=f"/network/encoder/layer.{at // 100}/attention/self/Add_{at}",
            block=(f"layer.{at // 100}", f"sub{at // 10}"),
            inputs=sorted({max(0, at - rng.randint(1, 9)), at - 1}) if at else [],
        )
        for at in range(1_000)
    ]
    kernels = [kernel(rng.random(), one["name"]) for one in nodes]
    page = graph_page(report(profile=profile(*kernels)), outline(*nodes))
    assert len(page) < 500_000


DRIVE = """
const faults = [];
addEventListener("error", event => faults.push(event.message));
const rounded = text => (text ?? "").replace(/[-\\d.]+/g, each => (+each).toFixed(0));
const state = () => [...document.querySelectorAll("#graph [transform], #graph path[d], .b")].map(
  e => e.id + rounded(e.getAttribute("transform")) + rounded(e.getAttribute("d"))
    + rounded(e.firstElementChild?.getAttribute("width"))).join("\\n");
const press = element => element.dispatchEvent(new MouseEvent("click", {bubbles: true}));
const before = state(), head = document.querySelector("#b1 > .k");
press(head);
const closed = document.querySelector("#n0") === null
  || !document.querySelector("#b1").classList.contains("open");
press(head);
const same = before === state();
press(document.querySelector("[data-key=f0]"));
const hits = [...document.querySelectorAll(".hit")].map(element => element.id);
const search = document.getElementById("search");
search.value = "NODE 19";
search.dispatchEvent(new Event("input"));
const found = document.querySelectorAll("#results button").length;
document.querySelector(".hit").dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
const tip = document.getElementById("tip").textContent;
document.body.dataset.told = JSON.stringify({faults, closed, same, hits, found, tip});
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_it_opens_closes_finds_and_tells(tmp_path: Path) -> None:
    names = [(f"a{at // 50}", f"b{at // 5}") for at in range(200)]
    record = outline(*(node(at, block=name) for at, name in enumerate(names)))
    page = graph_page(report(findings=[finding("node 7", "node 199")]), record)
    # Driven by a script beside the page's own, which the page itself would not let run.
    driven = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    driven = driven.replace("</body>", f"<script>{DRIVE}</script></body>")
    told = json.loads(str(browse(driven, tmp_path)["told"]))
    assert told["faults"] == []
    assert told["closed"]
    assert told["same"]
    assert told["hits"] == ["n7", "n199"]
    assert told["found"] == 11
    assert "node 7" in told["tip"]
    assert "it changes nothing" in told["tip"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_lets_the_page_run_its_own_script(tmp_path: Path) -> None:
    page = graph_page(report(name=HOSTILE), outline(node(0, name=HOSTILE), node(1)))
    assert browse(page, tmp_path)["tools hidden"] is None


def browse(page: str, folder: Path) -> dict[str, str | None]:
    """What the page says of itself after its scripts ran."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", f"file://{file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    after = Reader(done.stdout)
    body = next(a for tag, a in after.elements if tag == "body")
    tools = next(a for _, a in after.elements if a.get("class") == "tools")
    return {"told": body.get("data-told"), "tools hidden": "yes" if "hidden" in tools else None}
