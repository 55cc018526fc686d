"""What an engine is: it turns an ONNX file into something that runs on this machine."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from lepton_ai.engines.huge_pages import WORTH_BYTES, huge_pages_here
from lepton_ai.engines.processor import numa_nodes, usable_cores
from lepton_ai.errors import EngineError, EngineUnavailableError, MissingExtraError
from lepton_ai.graph.graph_report import NodeTime, Refusal
from lepton_ai.model.signature import Arrays
from lepton_ai.registry import Registry

#: Calls stacked into one that are tried for throughput; more rarely gains on a processor.
BATCHES = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether an engine runs here; if not, why, and the one command that would change it."""

    ok: bool
    reason: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """How an engine is to run a graph: on ``threads`` cores, in ``precision``, on ``device``.

    ``precision`` is ``"fp32"``, ``"bf16"`` or another that the engine names; an int8 graph carries
    its own quantisation, and the precision then says how the rest of it is computed. ``streams``
    calls may run side by side, from as many threads of the caller's, and in each of them
    ``branches`` of the graph, with ``threads`` for each branch. ``batch`` is how many samples the
    caller had best stack into a call; the engine runs what comes. With ``fixed_batch`` it compiles
    for that number alone, and once more for any other when the first such call comes. With
    ``huge_pages`` it asks the system for such. ``pinning`` says whether threads stay on their
    cores; ``None`` leaves it to the engine. ``without`` names what the engine does of its own and
    is left out, because on this machine it does not pay.
    """

    threads: int = 1
    precision: str = "fp32"
    without: tuple[str, ...] = ()
    branches: int = 1
    streams: int = 1
    batch: int = 1
    fixed_batch: bool = False
    huge_pages: bool = False
    pinning: bool | None = None
    device: str = "cpu"

    @property
    def cores(self) -> int:
        """The cores that are busy when every stream and branch is."""
        return self.threads * self.branches * self.streams

    @property
    def words(self) -> tuple[str, ...]:
        """All but the precision in words; what is as by default is left out."""
        cores = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        stacked = (f"batch {self.batch}",) if self.batch > 1 else ()
        pinned = {None: (), True: ("pinned",), False: ("not pinned",)}[self.pinning]
        return (
            *((f"on {self.device}",) if self.device != "cpu" else ()),
            cores,
            *((f"{self.branches} branches",) if self.branches > 1 else ()),
            *((f"{self.streams} streams",) if self.streams > 1 else ()),
            *((f"compiled for batch {self.batch}",) if self.fixed_batch else stacked),
            *(("huge pages",) if self.huge_pages else ()),
            *pinned,
            *(f"without {name}" for name in self.without),
        )

    def within(self, cores: int) -> "EnginePlan":
        """The plan with no more threads than ``cores``: fewer streams first, then branches."""
        threads = max(1, min(self.threads, cores))
        branches = max(1, min(self.branches, cores // threads))
        streams = max(1, min(self.streams, cores // (threads * branches)))
        return replace(self, threads=threads, branches=branches, streams=streams)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {**asdict(self), "without": list(self.without)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "EnginePlan":
        """The inverse of :meth:`to_json`; what an older record does not have is as by default."""
        return cls(**{**record, "without": tuple(record.get("without", ()))})


class Executable(ABC):
    """A graph compiled by one engine for one machine."""

    @abstractmethod
    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call, under the graph's own names; ``inputs`` are not changed.

        May be called from any number of threads; as many calls as the plan has streams run side by
        side, and others wait.

        Raises:
            EngineError: the engine failed on these inputs.
        """

    def close(self) -> None:  # noqa: B027  most engines free everything with the object
        """Give back what the engine holds."""


class Engine(ABC):
    """A way to run graphs."""

    name: str
    #: Whether a bundle may carry this engine; the reference is for checking only.
    ships: bool = True
    #: Whether a search asks this engine without being told to.
    by_default: bool = True
    #: What it loads: an ONNX ``"graph"``, or a folder of another form.
    form: str = "graph"
    #: Whether calls of one executable can run side by side, so that plans have streams.
    parallel: bool = False
    #: Whether it can compile for one number of samples alone, and gains by it.
    fixes_batch: bool = False
    #: Whether its weights are put into huge pages where a plan says so.
    huge_pages: bool = False
    #: The distributions that it may come from, the first that is installed counts; its own name
    #: where there are none.
    distributions: tuple[str, ...] = ()
    #: What it adds to the others, in a clause.
    unlocks: str = ""

    @abstractmethod
    def available(self) -> Availability:
        """Whether this engine runs here; imports nothing heavy when it does not."""

    @abstractmethod
    def precisions(self) -> tuple[str, ...]:
        """The precisions that this machine computes faster or as fast, ``"fp32"`` first."""

    def version(self) -> str:
        """The version that is installed here; empty if none is."""
        for name in self.distributions or (self.name,):
            try:
                return version_of(name)
            except PackageNotFoundError:
                continue
        return ""

    def devices(self) -> tuple[str, ...]:
        """The devices that it computes on here, ``"cpu"`` first."""
        return ("cpu",)

    def check(self, plan: EnginePlan) -> None:
        """Raise :class:`EngineError` for a plan that no engine could follow on this machine.

        Every engine's ``load`` begins with it: nowhere else is it made sure that no more threads
        are asked for than there are cores.
        """
        for name in ("threads", "branches", "streams", "batch"):
            value = getattr(plan, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise EngineError(f"{name} wants a whole number from 1 on, and {value!r} came")
        if plan.pinning not in (None, True, False):
            raise EngineError(f"pinning wants true, false or null, and {plan.pinning!r} came")
        for name, able in (("fixed_batch", self.fixes_batch), ("huge_pages", self.huge_pages)):
            value = getattr(plan, name)
            if not isinstance(value, bool):
                raise EngineError(f"{name} wants true or false, and {value!r} came")
            if value and not able:
                raise EngineError(f"{self.name} has no {name}; leave it out of the plan")
        if plan.cores > usable_cores():
            raise EngineError(
                f"{plan.threads} threads for each of {plan.branches} branches in {plan.streams} "
                f"streams are {plan.cores}, and there are {usable_cores()} cores; ask for fewer"
            )
        if plan.device != "cpu" and plan.device not in self.devices():
            raise EngineUnavailableError(
                f"{self.name} does not compute on {plan.device!r} here, but on "
                f"{', '.join(self.devices())}; lepton doctor says what would change that"
            )

    def plans(self, path: Path, plan: EnginePlan) -> list[EnginePlan]:
        """Other plans whose latency is worth measuring for the graph at ``path``.

        One thread, as small networks lose more by waiting for a second than they gain from it; a
        fixed number of samples, huge pages, or both.
        """
        from lepton_ai.engines.form import look

        form = look(path)
        fixed = [False, True] if self.fixes_batch and form.stackable else [plan.fixed_batch]
        large = plan.device == "cpu" and form.weight_bytes >= WORTH_BYTES
        worth = self.huge_pages and large and huge_pages_here()
        others = [replace(plan, threads=1)] if plan.threads > 1 else []
        others += [
            replace(plan, fixed_batch=batch, huge_pages=pages)
            for batch in fixed
            for pages in ([False, True] if worth else [plan.huge_pages])
        ]
        return [each for each in others if each != plan]

    def throughput_plans(self, path: Path, plan: EnginePlan) -> list[EnginePlan]:
        """Other plans whose calls per second are worth measuring, on the cores of ``plan``.

        Calls side by side, where the engine can, by the topology of the machine; and samples
        stacked, where the graph takes any number of them, for which it is compiled if that helps.
        """
        from lepton_ai.engines.form import look

        cores = plan.cores
        free = look(path).stackable
        base = replace(plan, branches=1, fixed_batch=free and self.fixes_batch)
        counts = _stream_counts(cores) if self.parallel else [1]
        found = [
            replace(base, threads=cores // streams, streams=streams, batch=batch)
            for streams in counts
            for batch in (BATCHES if free else (1,))
        ]
        return [each for each in found if each != plan]

    @abstractmethod
    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Compile the ONNX file at ``path``, or take what ``cache`` holds of an earlier time.

        ``cache`` is a folder in which the engine may keep what it compiled.

        Raises:
            EngineUnavailableError: the engine is not installed here.
            EngineError: the engine refuses the graph or the plan; the message carries its reason.
        """

    def profile(
        self, path: Path, plan: EnginePlan, feed: Arrays, calls: int
    ) -> tuple[NodeTime, ...]:
        """What each kernel takes in a call with ``feed``, over ``calls`` calls after a warm-up.

        Raises:
            EngineError: the engine does not tell, refuses the graph, or fails on ``feed``.
        """
        raise EngineError(f"{self.name} does not tell how long its kernels take")

    @property
    def tells_times(self) -> bool:
        """Whether :meth:`profile` has an answer."""
        return type(self).profile is not Engine.profile

    def refusals(self, path: Path) -> tuple[Refusal, ...]:
        """Empty if the engine takes the graph at ``path``; otherwise what its complaint names.

        A complaint that names no node is one refusal without one.

        Raises:
            EngineUnavailableError: the engine is not installed here.
        """
        try:
            self.load(path, EnginePlan()).close()
        except EngineUnavailableError:
            raise
        except EngineError as failure:
            whole = Refusal(node="", operator="", reason=str(failure))
            return self.named_in(str(failure.__cause__ or failure)) or (whole,)
        return ()

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The nodes or operators that the engine's own ``complaint`` names; none by default."""
        return ()


def _stream_counts(cores: int) -> list[int]:
    """How many calls to run side by side: one per core, fewer with more threads each, one."""
    wanted = (cores, cores // 2, cores // 4, min(numa_nodes(), cores), 1)
    return list(dict.fromkeys(count for count in wanted if count))


engines: Registry[type[Engine]] = Registry("engines", extra="all")
engines.register("onnxruntime", "lepton_ai.engines.onnxruntime:OnnxRuntime")
engines.register("openvino", "lepton_ai.engines.openvino:OpenVino")
engines.register("inductor", "lepton_ai.engines.inductor:Inductor")
engines.register("xla", "lepton_ai.engines.xla:Xla")
engines.register("ctranslate2", "lepton_ai.engines.ctranslate2:CTranslate2")
engines.register("reference", "lepton_ai.engines.reference:Reference")


def default_engines() -> list[Engine]:
    """The engines that take graphs and are asked without being named, in order of registration.

    Those whose module needs a package that is not installed are left out; whether the others run
    here, :meth:`Engine.available` says.
    """
    found = []
    for name in engines.names():
        try:
            engine = engines.get(name)()
        except MissingExtraError:
            continue
        if engine.by_default and engine.form == "graph":
            found.append(engine)
    return found
