"""What a rewrite is, and the registry it is found in."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from lepton_ai.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What a rewrite did: nodes before and after, and a sentence for each thing that fired."""

    nodes_before: int
    nodes_after: int
    fired: tuple[str, ...]


class Rewrite(ABC):
    """Graph to equal graph. Whether it really is equal, the gate decides, not the rewrite."""

    name: str
    #: The engines that can run the result; empty means all of them.
    engines: tuple[str, ...] = ()

    @abstractmethod
    def apply(self, source: Path, target: Path) -> Rewritten:
        """Read the ONNX file ``source``, write the rewritten one to ``target``."""


rewrites: Registry[type[Rewrite]] = Registry("rewrites", extra="optimize")
rewrites.register("clean", "lepton_ai.graph.clean:Clean")
rewrites.register("fuse-attention", "lepton_ai.graph.fuse_attention:FuseAttention")
