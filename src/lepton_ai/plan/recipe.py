"""A recipe: the steps that made an artifact, in order."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from lepton_ai.engines.engine import EnginePlan

#: What was done to a student beside thinning it, in words.
_STUDENT = {"longer": "taught longer", "half": "sparse half", "2:4": "sparse 2:4"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an artifact is made from the original graph: rewrites, a compressor, an engine's plan.

    ``student`` says that it is made not of the original but of a network that was thinned and
    taught by it: the shares of the time that were aimed at, in percent, where it was taught longer,
    and the pattern of the zeros in its weights, if any were put there. ``kept`` are the nodes that
    the compressor leaves in floating point; ``taught`` says that its result was trained with its
    rounding in place; ``small_tables``, that what rows are looked up in is stored in 4 bits. The
    forms follow: thinning, rewrites and the compressor
    take a graph and give a graph; the engine takes a graph and gives an executable.
    """

    engine: str
    plan: EnginePlan
    student: tuple[int | str, ...] = ()
    rewrites: tuple[str, ...] = ()
    compressor: str | None = None
    kept: tuple[str, ...] = ()
    taught: bool = False
    small_tables: bool = False

    @property
    def uncompressed(self) -> "Recipe":
        """The recipe of the graph that the compressor takes."""
        return replace(self, compressor=None, kept=(), taught=False, small_tables=False)

    @property
    def tells_what_was_learnt(self) -> bool:
        """Whether it is a student as it was taught: what is made of it can only answer worse."""
        return bool(self.student) and not self.rewrites and self == self.uncompressed

    @property
    def name(self) -> str:
        """The recipe in words, unique within a search."""
        form = self.compressor or self.plan.precision
        if self.compressor and self.plan.precision != "fp32":
            form += f"+{self.plan.precision}"
        if self.kept:
            form += f" but {len(self.kept)} node" + "s" * (len(self.kept) > 1)
        if self.taught:
            form += " taught"
        form += " + int4 tables" if self.small_tables else ""
        words = _student_in_words(self.student)
        return " · ".join((*words, *self.rewrites, form, self.engine, *self.plan.words))

    @property
    def key(self) -> str:
        """A short hash of everything in the recipe."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def graph_key(self) -> str:
        """A file-system name for the graph, shared by recipes that differ in the engine alone."""
        kept = hashlib.sha256("\0".join(self.kept).encode()).hexdigest()[:8]
        form = f"{self.compressor or 'plain'}{f'-but-{kept}' if self.kept else ''}"
        form += "-taught" if self.taught else ""
        form += "-tables" if self.small_tables else ""
        return "+".join((*self.origin, *self.rewrites, form))

    @property
    def origin(self) -> tuple[str, ...]:
        """What names the student in a file's name; nothing where it is the original."""
        steps = (str(each).replace(":", "of") for each in self.student)
        return ("student-" + "-".join(steps),) if self.student else ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {
            "student": list(self.student),
            "rewrites": list(self.rewrites),
            "compressor": self.compressor,
            "kept": list(self.kept),
            "taught": self.taught,
            "small_tables": self.small_tables,
            "engine": self.engine,
            "plan": self.plan.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Recipe":
        """The inverse of :meth:`to_json`."""
        return cls(
            engine=record["engine"],
            plan=EnginePlan.from_json(record["plan"]),
            student=tuple(record.get("student", ())),
            rewrites=tuple(record["rewrites"]),
            compressor=record["compressor"],
            kept=tuple(record.get("kept", ())),
            taught=record.get("taught", False),
            small_tables=record.get("small_tables", False),
        )


def _student_in_words(steps: Sequence[int | str]) -> Iterator[str]:
    """Shares in a row together, and what was done between them, in order."""
    for thinned, group in groupby(steps, key=lambda each: isinstance(each, int)):
        if thinned:
            yield f"slim {'·'.join(map(str, group))} %"
        else:
            yield from (_STUDENT[str(each)] for each in group)
