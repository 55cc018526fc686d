"""A traced program compiled by AOTInductor, and looked at before it is believed.

With ``freezing``, PyTorch 2.13 compiles some programs for the sizes that they were traced with and
takes calls of every other size all the same: a pooling written as a gather answered one sample with
three rows. So what is compiled with it must answer calls of several sizes as the program does; what
does not, or cannot be called to see, is compiled anew without it.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.inductor_program import Source, alone, fixed_sizes, torch_here
from lepton_ai.engines.inductor_sizes import Sizes
from lepton_ai.engines.parity import difference
from lepton_ai.errors import EngineError, first_line
from lepton_ai.model.signature import Arrays

#: The unpacked package in a folder; the compiler calls it as the file that it was in.
PACKAGE = "network"
_UNSEEN = "no call is known that it takes"


def compile_into(
    folder: Path,
    source: Source,
    trace: Callable[[], tuple[Any, Sizes]],
    plan: EnginePlan,
    device: str,
) -> Sizes:
    """Compile what ``trace`` makes of ``source`` into the package in ``folder``; for which sizes.

    Raises:
        EngineError: the tracer or the compiler failed, or what it made answers otherwise than the
            program.
    """
    threads = {"cpp.threads": plan.threads}
    if device == "cpu":
        program, sizes = trace()
        # Weights are folded, and laid out as the processor wants them.
        _compile(folder, program, {**threads, "freezing": True})
        why = _differs(folder, source, program, sizes, plan, device)
        if not why:
            return sizes
    program, sizes = trace()  # anew: the compiler fixes sizes in the program as well
    _compile(folder, program, threads)
    why = _differs(folder, source, program, sizes, plan, device)
    if why and why != _UNSEEN:
        raise EngineError(f"inductor compiles the graph to something else: {why}")
    return sizes


def open_loader(folder: Path, streams: int) -> Any:
    """What runs the package in ``folder``.

    The loader is asked for the compiled library alone. ``aoti_load_package`` would unpickle
    whatever else somebody had put beside it.

    Raises:
        EngineError: it cannot be loaded.
    """
    make = torch_here()._C._aoti.AOTIModelPackageLoader
    try:
        return make(str(folder / PACKAGE), "model", False, streams, -1)
    except RuntimeError as failure:
        raise EngineError(
            f"inductor cannot load what it compiled: {first_line(failure)}"
        ) from failure


def _compile(folder: Path, program: Any, options: dict[str, Any]) -> None:
    torch = torch_here()
    try:
        with (
            alone,
            torch.no_grad(),
            tempfile.TemporaryDirectory(prefix="lepton-inductor-") as parts,
            # Else they, and with them the weights, would stay in the compiler's own cache.
            torch._inductor.config.patch({"aot_inductor.output_path": parts}),
        ):
            package = Path(parts) / f"{PACKAGE}.pt2"
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(package), inductor_configs=options
            )
            # Out of a file it would be copied for each load, and a library is never unloaded:
            # what lies at one place is loaded once.
            shutil.rmtree(folder / PACKAGE, ignore_errors=True)
            zipfile.ZipFile(package).extractall(folder)
    except Exception as failure:  # the compilers under this raise whatever they happen to
        raise EngineError(f"inductor cannot compile the graph: {first_line(failure)}") from failure


def _differs(
    folder: Path, source: Source, program: Any, sizes: Sizes, plan: EnginePlan, device: str
) -> str:
    """Where the package answers otherwise than the program; empty if nowhere."""
    if not sizes.are_free:
        return ""
    module, loader = program.module(), open_loader(folder, 1)
    names = source.signature.output_names
    wanted, answers = [], []
    with torch_here().no_grad():
        for call in _calls(source, sizes, device):
            try:
                right = module(*call)
            except Exception:  # made up, and not what the graph takes
                continue
            try:
                came = loader.run(list(call))
            except RuntimeError as failure:
                return f"a call of {[list(x.shape) for x in call]} fails: {first_line(failure)}"
            wanted.append(_named(names, right))
            answers.append(_named(names, came))
    return difference(wanted, answers, plan.precision) if wanted else _UNSEEN


def _calls(source: Source, sizes: Sizes, device: str) -> Iterator[tuple[Any, ...]]:
    """Calls of different sizes, all of which the program is for."""
    from lepton_ai.operators.namespaces.torch import TorchNamespace

    namespace = TorchNamespace()
    seen = set()
    for feed in source.calls(fixed_sizes(source.signature, sizes)):
        arrays = [feed[name] for name in source.signature.input_names]
        shapes = tuple(array.shape for array in arrays)
        if shapes not in seen and sizes.fit(shapes):
            seen.add(shapes)
            yield tuple(namespace.from_host(array).to(device) for array in arrays)


def _named(names: Sequence[str], outputs: Sequence[Any]) -> Arrays:
    from lepton_ai.operators.namespaces.torch import numpy_array

    return {name: numpy_array(value) for name, value in zip(names, outputs, strict=True)}
