"""What engines keep: made once, made anew when it must be, and never in the way."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.engines import cache as cache_module
from lepton_ai.engines.cache import MOST_ENTRIES, cached
from lepton_ai.engines.engine import EnginePlan

PLAN = EnginePlan()
HOUR = 3600


class Maker:
    """Writes a file and counts how often it had to."""

    def __init__(self, content: bytes = b"compiled") -> None:
        self.content = content
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "made").write_bytes(self.content)


@pytest.fixture
def graph(tmp_path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"a graph")
    age(path)
    return path


def age(path: Path) -> None:
    """Let ``path`` look as if it had been written an hour ago, as deployed files were."""
    then = time.time() - HOUR
    os.utime(path, (then, then))


def with_weights(folder: Path) -> Path:
    """A graph whose weights are in a file beside it."""
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Add(x, w) }'
    )
    model = parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, "f"), "w"))
    path = folder / "net.onnx"
    onnx.save(
        model, path, save_as_external_data=True, location="some weights.bin", size_threshold=0
    )
    return path


def test_made_once(tmp_path, graph):
    make = Maker()
    first, second = (cached(tmp_path / "c", "engine 1", graph, PLAN, make) for _ in range(2))
    assert first == second
    assert (first / "made").read_bytes() == b"compiled"
    assert make.times == 1


def test_made_anew_for_another_engine_version_plan_or_graph(tmp_path, graph):
    make, home = Maker(), tmp_path / "c"
    cached(home, "engine 1", graph, PLAN, make)
    cached(home, "engine 2", graph, PLAN, make)
    cached(home, "engine 1", graph, EnginePlan(batch=2), make)
    graph.write_bytes(b"b graph")
    cached(home, "engine 1", graph, PLAN, make)
    assert make.times == 4


def test_made_anew_on_another_processor(tmp_path, graph, monkeypatch):
    make = Maker()
    cached(tmp_path / "c", "engine 1", graph, PLAN, make)
    other = cache_module.processor.__wrapped__()
    other = type(other)(name=other.name, isa=(*other.isa, "warp512"))
    monkeypatch.setattr(cache_module, "processor", lambda: other)
    cached(tmp_path / "c", "engine 1", graph, PLAN, make)
    assert make.times == 2


def test_the_same_graph_elsewhere_is_the_same_graph(tmp_path, graph):
    make = Maker()
    copy = tmp_path / "other" / "copy.onnx"
    copy.parent.mkdir()
    shutil.copy(graph, copy)
    folders = {cached(tmp_path / "c", "engine 1", path, PLAN, make) for path in (graph, copy)}
    assert len(folders) == make.times == 1


def test_weights_beside_the_graph_count(tmp_path):
    make, home = Maker(), tmp_path / "c"
    path = with_weights(tmp_path)
    cached(home, "engine 1", path, PLAN, make)
    (tmp_path / "some weights.bin").write_bytes(np.full(4, 2, "f").tobytes())
    cached(home, "engine 1", path, PLAN, make)
    assert make.times == 2


def test_a_graph_that_was_read_is_not_read_again(tmp_path, graph, monkeypatch):
    make, home = Maker(), tmp_path / "c"
    later = time.time_ns() + HOUR * 10**9  # the file's own times are then long past
    monkeypatch.setattr(cache_module.time, "time_ns", lambda: later)
    cached(home, "engine 1", graph, PLAN, make)
    monkeypatch.setattr(cache_module, "_facts", lambda file: pytest.fail(f"{file} is read"))
    cached(home, "engine 1", graph, PLAN, make)
    monkeypatch.undo()
    graph.write_bytes(b"b graph")  # of the same size
    cached(home, "engine 1", graph, PLAN, make)
    assert make.times == 2


@pytest.mark.parametrize("damage", [b"compilex", b"comp", None])
def test_a_damaged_entry_is_made_anew(tmp_path, graph, damage):
    make = Maker()
    file = cached(tmp_path / "c", "engine 1", graph, PLAN, make) / "made"
    time.sleep(0.02)  # a tick of the clock that files are stamped by
    file.unlink() if damage is None else file.write_bytes(damage)
    again = cached(tmp_path / "c", "engine 1", graph, PLAN, make)
    assert (again / "made").read_bytes() == b"compiled"
    assert make.times == 2
    (again / "entry.json").write_text("[")
    cached(tmp_path / "c", "engine 1", graph, PLAN, make)
    assert make.times == 3


def test_a_cache_that_was_copied_still_serves(tmp_path, graph):
    make = Maker()
    cached(tmp_path / "c", "engine 1", graph, PLAN, make)
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    assert (cached(tmp_path / "d", "engine 1", graph, PLAN, make) / "made").exists()
    assert make.times == 1


def test_what_failed_leaves_nothing_behind(tmp_path, graph):
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"comp")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError):
        cached(tmp_path / "c", "engine 1", graph, PLAN, fail)
    assert not list((tmp_path / "c").rglob("half"))
    assert not list((tmp_path / "c").rglob("entry.json"))


def test_the_entries_used_last_are_kept(tmp_path, graph):
    make, home = Maker(), tmp_path / "c"
    plans = [EnginePlan(batch=n) for n in range(1, MOST_ENTRIES + 3)]
    for plan in plans:
        folder = cached(home, "engine 1", graph, plan, make)
        os.utime(folder, (plan.batch, plan.batch))
        cached(home, "engine 1", graph, plans[0], make)
    assert make.times == len(plans)
    left = {folder.parent for folder in home.glob("*/*/entry.json")}
    assert len(left) == MOST_ENTRIES
    assert cached(home, "engine 1", graph, plans[0], make) in left
    assert cached(home, "engine 1", graph, plans[-1], make) in left
    assert make.times == len(plans)


def test_the_graphs_used_last_are_kept(tmp_path, graph, monkeypatch):
    monkeypatch.setattr(cache_module, "MOST_GRAPHS", 2)
    make, home = Maker(), tmp_path / "c"

    def load(number: int) -> Path:
        graph.write_bytes(b"graph %d" % number)
        return cached(home, "engine 1", graph, PLAN, make)

    entries = [load(0), load(1)]
    for entry in entries:
        os.utime(entry.parent, (1, 1))
    assert load(0) == entries[0]
    load(2)
    assert [entry.exists() for entry in entries] == [True, False]
    assert make.times == 3


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path, graph):
    make = Maker()
    no_folder = tmp_path / "file"
    no_folder.write_text("in the way")
    folders = {cached(no_folder / "c", "engine 1", graph, PLAN, make) for _ in range(2)}
    assert [(folder / "made").read_bytes() for folder in folders] == [b"compiled"]
    assert make.times == 1
    assert no_folder.read_text() == "in the way"


def test_threads_that_ask_together_make_once(tmp_path, graph):
    def slowly(folder: Path) -> None:
        time.sleep(0.1)
        make(folder)

    make = Maker()
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(cached, tmp_path / "c", "engine 1", graph, PLAN, slowly) for _ in range(4)
        ]
        assert len({each.result() for each in asked}) == make.times == 1


def test_processes_that_ask_together_make_once(tmp_path, graph):
    program = """
import os, sys, time
from pathlib import Path
from lepton_ai.engines.cache import cached
from lepton_ai.engines.engine import EnginePlan
def make(folder):
    time.sleep(0.3)
    (folder / "made").write_text(str(os.getpid()))
folder = cached(Path(sys.argv[1]), "e 1", Path(sys.argv[2]), EnginePlan(), make)
print((folder / "made").read_text())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "c"), str(graph)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    makers = {process.communicate(timeout=60)[0].strip() for process in started}
    assert len(makers) == 1
    assert makers <= {str(process.pid) for process in started}


def test_nothing_kept_is_code(tmp_path, graph):
    folder = cached(tmp_path / "c", "engine 1", graph, PLAN, Maker())
    record = json.loads((folder / "entry.json").read_text())
    assert list(record) == ["made"]
