"""What is compiled is called before it is believed: planted faults, and graphs that are right."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from lepton_ai.engines import inductor_compiling
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.inductor_compiling import compile_into
from lepton_ai.engines.inductor_program import read_source, trace
from lepton_ai.errors import EngineError

PLAN = EnginePlan()


@pytest.fixture
def source(write):
    weights = np.random.default_rng(0).normal(size=(8, 8)).astype("f")
    body = "a = MatMul (x, w)  y = Relu (a)"
    path = write("(float[n, 8] x) => (float[n, 8] y)", body, w=weights)
    return read_source(path, "fp32", "cpu")


class Program:
    """Stands in for the compiled package: the traced program, or what a fault makes of it."""

    def __init__(self, module, fault):
        self.module = module
        self.fault = fault

    def run(self, tensors):
        return [self.fault(value) for value in self.module(*tensors)]


@pytest.fixture
def compiled(monkeypatch, source, tmp_path):
    """Compile with a fault for each try in turn; the options that each try was compiled with."""

    def run(*faults):
        tries = []

        def compile_program(folder: Path, program, options) -> None:
            tries.append((options, Program(program.module(), faults[len(tries)])))

        monkeypatch.setattr(inductor_compiling, "_compile", compile_program)
        monkeypatch.setattr(inductor_compiling, "open_loader", lambda *_: tries[-1][1])
        compile_into(tmp_path, source, lambda: trace(source, {}, "cpu"), PLAN, "cpu")
        return [options.get("freezing", False) for options, _ in tries]

    return run


def right(value):
    return value


def of_one_size(value):
    return value[:1].expand(3, -1)


def slightly_off(value):
    return value * 1.01


def not_a_number(value):
    return value / 0


def test_what_answers_rightly_is_kept(compiled):
    assert compiled(right) == [True]


@pytest.mark.parametrize("fault", [of_one_size, slightly_off, not_a_number])
def test_what_does_not_is_compiled_anew_without_freezing(compiled, fault):
    assert compiled(fault, right) == [True, False]


@pytest.mark.parametrize("fault", [of_one_size, slightly_off, not_a_number])
def test_what_still_does_not_is_refused(compiled, fault):
    with pytest.raises(EngineError, match="compiles the graph to something else"):
        compiled(fault, fault)


def test_without_a_call_that_it_takes_nothing_is_frozen(compiled, source, monkeypatch):
    monkeypatch.setattr(inductor_compiling, "_calls", lambda *_: iter(()))
    assert compiled(of_one_size, right) == [True, False]
