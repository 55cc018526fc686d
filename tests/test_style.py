"""The style budget of the source: sizes, names, docstrings, and what the imports may cost."""

import ast
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "lepton_ai"
FILES = sorted(SOURCE.rglob("*.py"))

FILE_LINES_MEDIAN, FILE_LINES_MAX = 200, 600
FUNCTION_LINES_P90, FUNCTION_LINES_MAX = 35, 80
CONSTRUCTOR_PARAMETERS_MAX = 8
ROOMS_FOR_ANYTHING = {"utils", "util", "common", "helpers", "helper", "misc"}
IMPORT_SECONDS, HELP_SECONDS = 0.100, 0.400
HEAVY = {
    *("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "openvino", "nncf"),
    *("transformers", "pandas", "scipy", "sklearn", "PIL", "tokenizers", "uvicorn", "jax"),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions() -> Iterator[tuple[str, Function]]:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, Function):
                yield f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}", node


def length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert statistics.median(lines.values()) <= FILE_LINES_MEDIAN
    assert {str(path): n for path, n in lines.items() if n > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    lines = {where: length(function) for where, function in functions()}
    assert {where: n for where, n in lines.items() if n > FUNCTION_LINES_MAX} == {}
    p90 = statistics.quantiles(lines.values(), n=10)[-1]
    assert p90 <= FUNCTION_LINES_P90


def test_constructors_take_few_parameters() -> None:
    crowded = {}
    for where, function in functions():
        if function.name == "__init__":
            taken = function.args
            count = len(taken.posonlyargs) + len(taken.args) - 1 + len(taken.kwonlyargs)
            crowded[where] = count
    assert {where: n for where, n in crowded.items() if n > CONSTRUCTOR_PARAMETERS_MAX} == {}


def test_no_room_for_anything() -> None:
    names = {part for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert names & ROOMS_FOR_ANYTHING == set()


def undocumented(node: ast.AST, where: str) -> Iterator[str]:
    """Public modules, classes, functions and methods that have no docstring."""
    if isinstance(node, ast.Module | ast.ClassDef | Function) and not ast.get_docstring(node):
        yield where
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
                yield from undocumented(child, f"{where}:{child.lineno} {child.name}")


def test_public_names_have_docstrings() -> None:
    missing = [
        name for path in FILES for name in undocumented(tree(path), str(path.relative_to(SOURCE)))
    ]
    assert missing == []


def test_nothing_is_left_to_do() -> None:
    marks = ("TODO", "FIXME", "XXX", "raise NotImplementedError")
    assert [
        f"{path.relative_to(SOURCE)}: {mark}"
        for path in FILES
        for mark in marks
        if mark in path.read_text(encoding="utf-8")
    ] == []


def seconds(program: str, *, best_of: int = 5) -> float:
    """Processor time of ``program`` in a fresh Python, its start included, seconds.

    A single-threaded program takes this long on an idle machine; other work
    lengthens it less than the time on the clock, and the shortest of a few runs removes the rest.
    """
    spent = []
    for _ in range(best_of):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        spent.append(usage.ru_utime + usage.ru_stime)
    return min(spent)


def loaded_by(program: str) -> set[str]:
    """The heavy libraries that ``program`` loads."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    code = f"import atexit\natexit.register(lambda: exec({report!r}))\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stderr.split())


HELP = "from lepton_ai.cli import main; main(['--help'])"


def test_import_is_quick() -> None:
    assert seconds("import lepton_ai") - seconds("pass") < IMPORT_SECONDS


def test_help_is_quick() -> None:
    assert seconds(HELP) < HELP_SECONDS


@pytest.mark.parametrize("program", ["import lepton_ai", HELP])
def test_nothing_heavy_is_loaded(program: str) -> None:
    assert loaded_by(program) == set()


def test_a_search_leaves_graphs_to_its_children() -> None:
    assert loaded_by("import lepton_ai.pipeline.optimize") <= {"scipy"}


def test_a_heavy_import_would_be_noticed() -> None:
    assert loaded_by("import onnx_ir") >= {"onnx_ir"}
