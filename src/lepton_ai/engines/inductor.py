"""PyTorch's compiler ahead of time: the graph as a module, traced, and turned into C++ or Triton.

A package that AOTInductor made is a library: loading it neither traces nor compiles. Kept in the
cache it is used again for the same graph, plan, processor and version of PyTorch.
"""

import functools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lepton_ai.engines.cache import cached
from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.engines.inductor_compiling import compile_into
from lepton_ai.engines.inductor_executable import Compiled, Package, open_package
from lepton_ai.engines.inductor_program import (
    Contents,
    Source,
    fixed_sizes,
    is_static,
    read_contents,
    read_source,
    torch_here,
    trace,
    trace_fixed,
    write_contents,
)
from lepton_ai.engines.inductor_sizes import Shapes, Sizes
from lepton_ai.engines.processor import processor
from lepton_ai.errors import EngineError, EngineUnavailableError, ModelError
from lepton_ai.graph.graph_report import Refusal

_PRECISIONS = ("fp32", "bf16", "fp16")
#: Extensions with which a processor multiplies matrices of bf16 in fewer steps than of fp32.
_BF16_ISA = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
#: What PyTorch calls if the environment variable CXX names no compiler.
_USUAL_COMPILER = "clang++" if sys.platform == "darwin" else "g++"
#: Packages that lift a graph to a module, and the extra that brings each.
_NEEDED = {"torch": "train", "array_api_compat": "optimize", "onnx_ir": "optimize"}
#: Files that a driver of PyTorch's other devices makes.
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
#: How the table of meanings names the node that failed.
_NODE = re.compile(r"(?P<operator>[\w.]+) node '(?P<node>.*?)': (?P<reason>.*)")
#: Raised when what is kept takes another form.
_FORM = 2


class Inductor(Engine):
    """AOTInductor: fp32, bf16 where the device multiplies it, and fp16 on a GPU."""

    name = "inductor"
    by_default = False
    parallel = True
    distributions = ("torch",)
    unlocks = "kernels of the graph's own, for GPUs by CUDA and ROCm too"

    def __init__(self) -> None:
        # On a processor it compiles for half a minute and seldom wins.
        self.by_default = self.devices() != ("cpu",)

    def available(self) -> Availability:
        """Whether PyTorch and a C++ compiler are here, and the GPU if there is one."""
        for package, extra in _NEEDED.items():
            if find_spec(package) is None:
                return Availability(
                    ok=False,
                    reason=f"{package} is not installed",
                    remedy=f"pip install 'lepton-ai[{extra}]'",
                )
        compiler = _compiler()
        if compiler is None:
            return Availability(ok=False, reason="no C++ compiler", remedy=_how_to_get_one())
        there = [f"CPU by {Path(compiler).name}", *(name for _, name in _accelerators())]
        return Availability(ok=True, reason=f"PyTorch on {', '.join(there)}")

    def precisions(self) -> tuple[str, ...]:
        """``fp32``; ``bf16`` with instructions for it or on a GPU; ``fp16`` on a GPU."""
        return _precisions(self.devices()[-1])

    def devices(self) -> tuple[str, ...]:
        """``"cpu"``, and ``"cuda"`` or ``"rocm"`` where PyTorch finds a device of it."""
        return ("cpu", *(kind for kind, _ in _accelerators()))

    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Compile the ONNX file at ``path``, or take what ``cache`` keeps of it.

        Where the trace leaves all free sizes free, one package takes them all, and is compiled
        here. Otherwise the first call in new sizes compiles a package for these.
        """
        self.check(plan)
        device = _device(plan)
        build = _Build(path, plan, cache, device)
        contents, first = build.for_all()
        return Compiled(contents.signature, first, build.for_sizes, plan, device)

    def refusals(self, path: Path) -> tuple[Refusal, ...]:
        """Empty if the graph at ``path`` can be traced; nothing is compiled.

        Raises:
            EngineUnavailableError: PyTorch is not installed here.
        """
        unknown = tuple(_unknown(path))
        if unknown:
            return unknown
        try:
            source = read_source(path, "fp32", "cpu")
            _try_tracing(source)
        except EngineUnavailableError:
            raise
        except EngineError as failure:
            whole = Refusal(node="", operator="", reason=str(failure))
            return self.named_in(str(failure)) or (whole,)
        return ()

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The node, as the table of meanings names it."""
        found = _NODE.search(complaint)
        if not found:
            return ()
        node, operator, why = found["node"], found["operator"], found["reason"]
        return (Refusal(node=node, operator=operator, reason=why),)


class _Build:
    """Makes the packages of one graph for one plan, in the cache if there is one."""

    def __init__(self, path: Path, plan: EnginePlan, cache: Path | None, device: str) -> None:
        self._path = path
        self._plan = plan
        self._cache = cache
        self._device = device
        self._contents: Contents | None = None

    def for_all(self) -> tuple[Contents, Package | None]:
        """What is known of the graph, and the package that takes all sizes, if one can."""
        self._contents, package = self._kept("", self._make_for_all)
        return self._contents, package

    def for_sizes(self, shapes: Shapes) -> Package:
        """A package that takes inputs of these ``shapes``.

        Only those sizes are fixed that the trace fixes anyhow, unless the call then does not fit.
        """
        sizes = self._fixed_sizes(shapes)
        if sizes:
            try:
                _, package = self._kept(
                    json.dumps(sizes, sort_keys=True),
                    lambda folder: self._make(folder, lambda source: self._trace(source, sizes)),
                )
            except EngineError:  # the trace for these very shapes will say why, if it fails too
                package = None
            if package is not None and package.sizes.fit(shapes):
                return package
        _, package = self._kept(
            json.dumps(shapes),
            lambda folder: self._make(
                folder, lambda source: trace_fixed(source, shapes, self._device)
            ),
        )
        if package is None or not package.sizes.fit(shapes):
            raise EngineError(f"inductor traced the graph for other shapes than {list(shapes)}")
        return package

    def _fixed_sizes(self, shapes: Shapes) -> dict[str, int]:
        if self._contents is None:
            return {}
        return {
            str(name): size
            for spec, shape in zip(self._contents.signature.inputs, shapes, strict=True)
            for name, size in zip(spec.shape or (), shape, strict=False)
            if name in self._contents.fixed
        }

    def _kept(self, key: str, make: Callable[[Path], None]) -> tuple[Contents, Package | None]:
        if self._cache is None:
            with tempfile.TemporaryDirectory(prefix="lepton-inductor-") as folder:
                make(Path(folder))
                return self._opened(Path(folder))
        named = f"inductor {_FORM}, torch {version('torch')} {key}".rstrip()
        return self._opened(cached(self._cache, named, self._path, self._plan, make))

    def _opened(self, folder: Path) -> tuple[Contents, Package | None]:
        return read_contents(folder), open_package(folder, self._plan)

    def _source(self) -> Source:
        if _compiler() is None:
            raise EngineUnavailableError(f"inductor finds no C++ compiler: {_how_to_get_one()}")
        return read_source(self._path, self._plan.precision, self._device)

    def _trace(self, source: Source, sizes: Mapping[str, int]) -> tuple[Any, Sizes]:
        return trace(source, sizes, self._device)

    def _make_for_all(self, folder: Path) -> None:
        """The package for all sizes; a note instead where they cannot all be left free."""
        source = self._source()
        signature = source.signature
        try:
            traced = self._trace(source, {})
        except EngineError:
            if is_static(signature):
                raise
            # Which sizes it would fix is not known, so each call's are.
            write_contents(folder, Contents(signature=signature, fixed=(), sizes=None))
            return
        fixed = tuple(fixed_sizes(signature, traced[1]))
        if fixed:
            write_contents(folder, Contents(signature=signature, fixed=fixed, sizes=None))
            return
        at_hand = [traced]
        self._compile(folder, source, lambda: at_hand.pop() if at_hand else self._trace(source, {}))

    def _make(self, folder: Path, traced: Callable[[Source], tuple[Any, Sizes]]) -> None:
        source = self._source()
        self._compile(folder, source, lambda: traced(source))

    def _compile(
        self, folder: Path, source: Source, trace: Callable[[], tuple[Any, Sizes]]
    ) -> None:
        sizes = compile_into(folder, source, trace, self._plan, self._device)
        write_contents(folder, Contents(signature=source.signature, fixed=(), sizes=sizes))


def _unknown(path: Path) -> Iterator[Refusal]:
    torch_here()
    from lepton_ai.graph.onnx_file import load_graph, operator_name
    from lepton_ai.graph.rule import node_label
    from lepton_ai.operators.evaluation import unknown

    try:
        model = load_graph(path)
    except ModelError as failure:
        yield Refusal(node="", operator="", reason=str(failure))
        return
    for node, reason in unknown(model):
        yield Refusal(node=node_label(node), operator=operator_name(node), reason=reason)


def _try_tracing(source: Source) -> None:
    """Raise :class:`EngineError` if it can be traced neither for all sizes nor for some."""
    try:
        trace(source, {}, "cpu")
    except EngineError:
        specs = source.signature.inputs
        if is_static(source.signature) or any(spec.shape is None for spec in specs):
            raise
        shapes = tuple(
            tuple(source.examples.get(str(size), size) for size in spec.shape or ())
            for spec in specs
        )
        trace_fixed(source, shapes, "cpu")  # type: ignore[arg-type]  # all are numbers now


def _device(plan: EnginePlan) -> str:
    """The device of a plan, as PyTorch calls it.

    Raises:
        EngineError: the plan asks for what this engine has not.
    """
    torch_here()
    here = _precisions(plan.device)
    if plan.precision not in here:
        raise EngineError(f"inductor computes in {list(here)} here, not in {plan.precision}")
    if plan.without:
        raise EngineError(f"inductor has no optimisations called {list(plan.without)}")
    if plan.branches > 1:
        raise EngineError("inductor runs one node at a time; ask for one branch")
    return "cpu" if plan.device == "cpu" else "cuda"  # which PyTorch calls AMD's devices as well


def _precisions(device: str) -> tuple[str, ...]:
    if device != "cpu":
        return _PRECISIONS
    return _PRECISIONS[:2] if _BF16_ISA.intersection(processor().isa) else _PRECISIONS[:1]


@functools.cache
def _accelerators() -> tuple[tuple[str, str], ...]:
    """The GPU that PyTorch computes on, its kind and its name.

    PyTorch is asked only where there is a driver for one: importing it takes a second.
    """
    if find_spec("torch") is None or not any(Path(driver).exists() for driver in _DRIVERS):
        return ()
    torch = torch_here()
    if not torch.cuda.is_available():
        return ()
    return (("rocm" if torch.version.hip else "cuda", torch.cuda.get_device_name()),)


def _compiler() -> str | None:
    """The C++ compiler that PyTorch will call."""
    return shutil.which(os.environ.get("CXX") or _USUAL_COMPILER)


def _how_to_get_one() -> str:
    if sys.platform == "darwin":
        return "xcode-select --install"
    managers = {"apt-get": "g++", "dnf": "gcc-c++", "zypper": "gcc-c++", "apk": "g++"}
    for manager, package in managers.items():
        if shutil.which(manager) is not None:
            verb = "add" if manager == "apk" else "install"
            return f"{manager} {verb} {package}"
    return "apt-get install g++"
