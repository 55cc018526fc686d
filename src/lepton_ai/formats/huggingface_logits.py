"""A Hugging Face classifier as a module of plain tensors, and its export."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from lepton_ai.formats.quiet import quiet
from lepton_ai.formats.torch_export import Call, FreeAxes, evaluating, export
from lepton_ai.model.model import Model
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Arrays

#: Two ways to write attention differ by rounding only, relative to the largest score.
_ROUNDING = 1e-4


class Logits(torch.nn.Module):
    """The scores alone, from inputs by position."""

    def __init__(self, network: PreTrainedModel, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Scores ``[batch, labels]``."""
        answer: torch.Tensor = self.network(**dict(zip(self.names, inputs, strict=True))).logits
        return answer


def export_logits(
    network: PreTrainedModel, fed: Arrays, sizes: FreeAxes, folder: Path, processing: Processing
) -> Model:
    """Export ``network`` with the axes ``sizes`` free in each of the inputs ``fed``.

    Raises:
        ModelError: the exporter fails on the network.
    """
    inputs = {name: torch.from_numpy(array) for name, array in fed.items()}
    module = Logits(network, list(inputs)).eval()
    call = Call(inputs=inputs, free=dict.fromkeys(inputs, sizes), outputs=["logits"])
    with _plainest_attention(module, inputs):
        model = export(module, call, folder)
    return replace(model, processing=processing, module=module, source_format="huggingface")


@contextmanager
def _plainest_attention(module: Logits, inputs: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The network with attention written out, where that gives the same scores.

    It needs fewer nodes than fused attention's guards against rows that are masked altogether, and
    engines recognise it and fuse it again. The owner's choice is put back afterwards.
    """
    held = module.network.config._attn_implementation
    try:
        if not _eager_agrees(module, inputs):
            module.network.set_attn_implementation(held)
        yield
    finally:
        module.network.set_attn_implementation(held)


def _eager_agrees(module: Logits, inputs: Mapping[str, torch.Tensor]) -> bool:
    """Switch to eager attention; whether the scores stay the same."""
    try:
        with evaluating(module), quiet():
            wanted = module(*inputs.values())
            module.network.set_attn_implementation("eager")
            came = module(*inputs.values())
    except (ValueError, ImportError, RuntimeError, NotImplementedError):
        return False  # this architecture has one way only
    return bool((wanted - came).abs().max() <= _ROUNDING * wanted.abs().max())
