"""What a rewrite rule is, and the registry it is found in.

A rule goes through a graph and, at each place where what it requires holds, asks the ledger before
it changes anything. So each change has a name, a reason, and can be left out by itself: that is how
the gate finds the single one that changed an answer. Where a rule's pattern is there but something
that it requires is not, it says so: a near miss.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lepton_ai.registry import Registry

if TYPE_CHECKING:  # those who only name rules need not wait for the library
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One change that a rule made: where, to which nodes, and why.

    ``site`` tells firings of one rule apart, and is the same each time the rule sees the graph.
    """

    rule: str
    site: str
    nodes: tuple[str, ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """A place where a rule's pattern was found and left alone: what was missing."""

    rule: str
    nodes: tuple[str, ...]
    why: str


@dataclass(kw_only=True)
class Ledger:
    """What one rule did and did not do to one graph.

    ``denied`` are the sites that it must leave; ``only``, if given, the ones that it may change.
    """

    rule: str
    denied: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    firings: list[Firing] = field(default_factory=list)
    near_misses: list[NearMiss] = field(default_factory=list)

    def fire(self, site: str, nodes: "Iterable[ir.Node]", why: str) -> bool:
        """Whether the rule may change ``nodes``; if so, it must, at once.

        ``site`` is a name that does not change between runs: that of a value which stays, such as
        the output that the changed nodes compute.
        """
        if site in self.denied or (self.only is not None and site not in self.only):
            return False
        self.firings.append(
            Firing(rule=self.rule, site=site, nodes=tuple(map(node_label, nodes)), why=why)
        )
        return True

    def miss(self, nodes: "Iterable[ir.Node]", why: str) -> None:
        """Note a pattern that was found and left alone."""
        self.near_misses.append(
            NearMiss(rule=self.rule, nodes=tuple(map(node_label, nodes)), why=why)
        )


class Rule(ABC):
    """Graph to equal graph, one named change at a time. Whether it is equal, the gate decides."""

    name: str
    #: What must hold for the rule to fire, in one sentence.
    requires: str
    #: What holds afterwards, in one sentence.
    ensures: str
    #: The engines whose kernels want the result; empty means every engine.
    engines: tuple[str, ...] = ()

    @abstractmethod
    def apply(self, model: "ir.Model", ledger: Ledger) -> None:
        """Change ``model`` in place wherever the rule holds and ``ledger`` lets it.

        Subgraphs (``model.graphs()``) are graphs like any other. Shapes are those that ONNX infers;
        what is not known is ``None``. New values get the dtype and shape that they have; names that
        clash and nodes that nothing reads are seen to afterwards.
        """


def node_label(node: "ir.Node") -> str:
    """The name of ``node``, or its operator and first output where it has none."""
    return node.name or f"{node.op_type} of {node.outputs[0].name if node.outputs else 'nothing'}"


#: In the order in which they are applied; those that only some engines want come last.
rules: Registry[type[Rule]] = Registry("rules", extra="optimize")
for _name, _class in (
    ("inline-functions", "InlineFunctions"),
    ("drop-dead", "DropDead"),
    ("raise-opset", "RaiseOpset"),
    ("fold-constants", "FoldConstants"),
    ("fold-shapes", "FoldShapes"),
    ("drop-zero-state", "DropZeroState"),
    ("drop-no-ops", "DropNoOps"),
    ("merge-duplicates", "MergeDuplicates"),
    ("merge-chains", "MergeChains"),
    ("merge-embeddings", "MergeEmbeddings"),
    ("merge-columns", "MergeColumns"),
    ("layer-norm", "LayerNorm"),
    ("rms-norm", "RmsNorm"),
    ("gelu", "Gelu"),
    ("hard-swish", "HardSwish"),
    ("key-transpose", "KeyTranspose"),
    ("softmax-guard", "SoftmaxGuard"),
    ("drop-zero-term", "DropZeroTerm"),
    ("attention-scale", "AttentionScale"),
    ("fold-pad", "FoldPad"),
    ("pooling", "Pooling"),
    # these end what the patterns above look for: the halves of Gelu, the scales of attention
    ("fold-affine", "FoldAffine"),
    ("fold-affine-before", "FoldAffineBefore"),
    ("matmul-to-gemm", "MatmulToGemm"),
    ("fuse-attention", "FuseAttention"),
    ("ort-decoder", "OrtDecoder"),
    ("ort-skip-norm", "OrtSkipNorm"),
    ("ort-bias-gelu", "OrtBiasGelu"),
    ("swish", "Swish"),
    ("global-pooling", "GlobalPooling"),
    ("subpixel-convolution", "SubpixelConvolution"),
    ("flat-convolution", "FlatConvolution"),
    ("merge-siblings", "MergeSiblings"),
):
    rules.register(_name, f"lepton_ai.graph.rules.{_name.replace('-', '_')}:{_class}")
