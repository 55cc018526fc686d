"""A traced program compiled by AOTInductor, and looked at before it is believed.

With ``freezing``, PyTorch 2.13 compiles some programs for the sizes that they were traced with and
takes calls of every other size all the same: a pooling written as a gather answered one sample with
three rows. So what is compiled must answer calls of other sizes as the program does; what does not
is compiled anew without that option.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.inductor_program import Source, alone, torch_here
from lepton_ai.engines.inductor_sizes import Sizes
from lepton_ai.errors import EngineError, first_line

#: The unpacked package in a folder; the compiler calls it as the file that it was in.
PACKAGE = "network"
#: Of an output's largest value, how far apart two orders of adding may bring it; far beyond that
#: lies what was compiled wrongly.
_APART = {"fp32": 1e-2, "bf16": 1e-1, "fp16": 1e-1}


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
    # Weights are folded, and laid out as the processor wants them.
    for options in [{"freezing": True}, {}] if device == "cpu" else [{}]:
        program, sizes = trace()  # the compiler fixes sizes in the program as well
        _compile(folder, program, {"cpp.threads": plan.threads, **options})
        why = _differs(folder, source, program, sizes, plan, device)
        if why is None:
            return sizes
    raise EngineError(f"inductor compiles the graph to something else: {why}")


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
) -> str | None:
    """Where the package answers otherwise than the program; ``None`` if nowhere."""
    torch = torch_here()
    calls = list(_calls(source, sizes, device))
    if not calls:
        return None
    module, loader = program.module(), open_loader(folder, 1)
    apart = _APART[plan.precision]
    with torch.no_grad():
        for call in calls:
            try:
                came = loader.run(list(call))
            except RuntimeError as failure:
                return f"a call of {_shapes(call)} fails: {first_line(failure)}"
            for name, one, other in zip(
                source.signature.output_names, came, module(*call), strict=True
            ):
                if not _close(one, other, apart):
                    return f"{name!r} is another for {_shapes(call)}"
    return None


def _close(one: Any, other: Any, apart: float) -> bool:
    """Whether two outputs have one shape, and values within ``apart`` of the largest."""
    if one.shape != other.shape:
        return False
    one, other = one.double(), other.double()
    scale = float(other.nan_to_num(0.0, 0.0, 0.0).abs().max()) if other.numel() else 0.0
    return bool(torch_here().allclose(one, other, rtol=0.0, atol=apart * scale, equal_nan=True))


def _calls(source: Source, sizes: Sizes, device: str) -> Iterator[tuple[Any, ...]]:
    """Calls of different sizes, all of which the program is for."""
    from lepton_ai.operators.namespaces.torch import TorchNamespace

    namespace = TorchNamespace()
    seen = set()
    for feed in source.calls:
        arrays = [feed[name] for name in source.signature.input_names]
        shapes = tuple(array.shape for array in arrays)
        if shapes in seen or not sizes.fit(shapes):
            continue
        seen.add(shapes)
        yield tuple(namespace.from_host(array).to(device) for array in arrays)


def _shapes(call: tuple[Any, ...]) -> str:
    return ", ".join(str(list(one.shape)) for one in call)
