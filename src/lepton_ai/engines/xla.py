"""XLA by way of JAX: the table of operator meanings traced and compiled, for CPU, GPU and TPU.

With a cache folder the traced program is kept, without sizes where it does not depend on them and
lowered for every platform at once, and so is what was compiled from it here.
"""

from importlib.util import find_spec
from pathlib import Path

from lepton_ai.engines.cache import cached
from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.engines.processor import processor
from lepton_ai.engines.xla_artifact import stored_program, try_tracing, write_program
from lepton_ai.engines.xla_client import accelerators, device_for, platform_of
from lepton_ai.engines.xla_executable import CompiledBySizes
from lepton_ai.engines.xla_program import Program, read_program
from lepton_ai.engines.xla_refusals import named_in
from lepton_ai.errors import EngineError, EngineUnavailableError
from lepton_ai.graph.graph_report import Refusal

_PRECISIONS = ("fp32", "bf16")
#: Extensions with which a processor multiplies matrices of bf16 in fewer steps than of fp32.
_BF16_ISA = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
#: The folder, in an entry of the cache, of what was compiled for sets of sizes.
_COMPILED = "compiled"
#: Files that it keeps, one for each set of sizes, those compiled last.
_MOST_KEPT = 64
#: Raised when what is kept takes another form.
_FORM = 1


class Xla(Engine):
    """XLA: fp32, and bf16 where the device multiplies it."""

    name = "xla"
    by_default = False
    parallel = True
    distributions = ("jax",)
    unlocks = "Google's TPUs; one artifact for CPU, CUDA and TPU"

    def __init__(self) -> None:
        # On a processor it takes longest to compile and seldom wins.
        self.by_default = bool(accelerators())

    def available(self) -> Availability:
        """Whether JAX is installed, and the devices that it finds."""
        if find_spec("jax") is None:
            return Availability(
                ok=False, reason="not installed", remedy="pip install 'lepton-ai[xla]'"
            )
        return Availability(ok=True, reason=f"JAX on {', '.join(self.devices())}")

    def devices(self) -> tuple[str, ...]:
        """``cpu``, and those that JAX's plug-ins find: ``cuda``, ``rocm``, ``tpu``."""
        return ("cpu", *accelerators())

    def precisions(self) -> tuple[str, ...]:
        """``fp32``, and ``bf16`` on an accelerator or a processor with instructions for it."""
        if accelerators() or _BF16_ISA.intersection(processor().isa):
            return _PRECISIONS
        return ("fp32",)

    def check(self, plan: EnginePlan) -> None:
        """Raise :class:`EngineError` for a plan that asks for what XLA does not do."""
        super().check(plan)
        if plan.precision not in _PRECISIONS:
            raise EngineError(f"xla computes in {list(_PRECISIONS)}, not in {plan.precision}")
        if plan.without:
            raise EngineError(f"xla has no optimisations called {list(plan.without)}")
        if plan.branches > 1:
            raise EngineError("xla decides by itself what runs side by side; ask for one branch")
        if plan.pinning:
            raise EngineError("xla does not pin threads to cores; leave pinning out")

    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Read the ONNX file at ``path``; compile it if its inputs have one shape each.

        Otherwise the first call in new sizes compiles for these. ``cache`` is a folder in which to
        keep what is traced and compiled.
        """
        self.check(plan)
        device = device_for(plan)

        def opened(program: Program, compiled: Path | None) -> CompiledBySizes:
            executable = CompiledBySizes(program, plan.streams, compiled)
            if program.is_static:
                executable.prepare()
            return executable

        if cache is None:
            return opened(read_program(path, plan.precision, device), None)

        def make(folder: Path) -> None:
            (folder / _COMPILED).mkdir()
            traced = read_program(path, plan.precision, device)
            if write_program(traced, path, folder):
                traced = stored_program(folder, device) or traced
            opened(traced, folder / _COMPILED).close()

        folder = cached(cache, self._form_of(platform_of(device)), path, plan, make)
        _prune(folder / _COMPILED)
        program = stored_program(folder, device) or read_program(path, plan.precision, device)
        return opened(program, folder / _COMPILED)

    def refusals(self, path: Path) -> tuple[Refusal, ...]:
        """Empty if XLA takes the graph at ``path``; otherwise the first node that it does not.

        Traces the graph and compiles nothing.
        """
        try:
            try_tracing(read_program(path, "fp32", device_for(EnginePlan())), path)
        except EngineUnavailableError:
            raise
        except EngineError as failure:
            whole = Refusal(node="", operator="", reason=str(failure))
            return self.named_in(str(failure)) or (whole,)
        return ()

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The node, as the table of meanings names it."""
        return named_in(complaint)

    def _form_of(self, platform: str) -> str:
        """The engine with all that decides about what it keeps."""
        return f"{self.name} {_FORM}, jax {self.version()} on {platform}"


def _prune(folder: Path) -> None:
    """Leave the newest :data:`_MOST_KEPT` files; others may prune and compile at the same time."""
    found = []
    for file in folder.glob("*"):
        try:
            found.append((file.stat().st_mtime_ns, file))
        except FileNotFoundError:
            continue
    for _, file in sorted(found, reverse=True)[_MOST_KEPT:]:
        file.unlink(missing_ok=True)
