"""What each channel, head or unit contributes to a network's answers, on real samples.

The contribution of a component is, to first order, the change of the answers if the weights that
read it were zero: a directional derivative (Molchanov et al. 2019, arXiv:1906.10771). Its energy
over all answers is the mean square of one backward pass with random signs in place of a loss
(Hutchinson's estimator), so that no labels and no loss are needed, and a network at its optimum,
where the gradient of a loss is zero, tells as much as any other.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
import torch

from lepton_ai.compress.slimming.coupling import Components, Site
from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.operators.module import GraphModule


def importance(model: ir.Model, components: Components, batches: Iterable[Arrays]) -> Array:
    """The energy that the answers lose with each component, as a share of their own: [components].

    ``batches`` are calls of ``model`` (or several joined along the first axis).

    Raises:
        EngineError: an operator has no meaning in PyTorch.
        ModelError: no answer is in floating point, or there are no batches.
    """
    module = GraphModule(model).eval()
    readers = _readers(model, components)
    fields = {name: field for field, name in module.initialisers.items()}
    random = torch.Generator().manual_seed(0)
    energy = np.zeros(len(components.free))
    samples = 0
    for feed in batches:
        inputs = [torch.from_numpy(np.array(feed[name])) for name in module.input_names]
        module.zero_grad(set_to_none=True)
        answers = [each for each in module(*inputs) if each.dtype.is_floating_point]
        if not answers:
            raise ModelError("no output of the network is in floating point")
        probe = torch.stack([_probe(answer, random) for answer in answers]).sum()
        probe.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        change = np.zeros(len(energy))
        for (value, axis), labels in readers.items():
            weight = getattr(module.weights, fields.get(str(value.name), ""), None)
            if weight is not None and weight.grad is not None:
                by_element = (weight.grad * weight.detach()).double()
                others = [each for each in range(by_element.ndim) if each != axis]
                along = by_element.sum(dim=others) if others else by_element
                np.add.at(change, labels, along.numpy())
        rows = max(1, int(answers[0].shape[0]) if answers[0].ndim else 1)
        energy += change**2
        samples += rows
    if not samples:
        raise ModelError("what matters in a network is found out by samples, and none came")
    return energy / samples


def _probe(answer: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """The answers with random signs, scaled so that the energy of all of a sample's is one."""
    signs = torch.randint(0, 2, answer.shape, generator=random, dtype=answer.dtype) * 2 - 1
    rows = max(1, answer.shape[0] if answer.ndim else 1)
    energy = answer.detach().float().var(correction=0) * (answer.numel() / rows)
    return (answer * signs).sum() / energy.clamp_min(1e-12).sqrt()


def _readers(model: ir.Model, components: Components) -> Mapping[Site, Array]:
    """The axes of weights over which components are read; of a component without, all it has."""
    found: dict[Site, Array] = {}
    for node in model.graph:
        for value, axis in contracted(node):
            labels = components.of((value, axis))
            if value.is_initializer() and len(labels):
                found[value, axis] = labels
    seen = np.zeros(len(components.free), dtype=bool)
    for labels in found.values():
        seen[labels] = True
    for site in components.sites:
        labels = components.of(site)
        if site[0].is_initializer() and site not in found and not seen[labels].any():
            found[site] = labels
    return found


def contracted(node: ir.Node) -> list[Site]:
    """The weights that ``node`` reads, with the axis that it sums over, channel by channel."""
    if len(node.inputs) < 2 or node.inputs[1] is None or node.domain not in ("", "ai.onnx"):
        return []
    weight = node.inputs[1]
    rank = len(weight.shape) if weight.shape is not None else 0
    if node.op_type == "Conv" and node.attributes.get_int("group", 1) == 1:
        return [(weight, 1)]
    if node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) == 1:
        return [(weight, 0)]
    if node.op_type == "Gemm":
        return [(weight, 1 if node.attributes.get_int("transB", 0) else 0)]
    if node.op_type == "MatMul" and rank >= 2:
        return [(weight, rank - 2)]
    if node.op_type in ("GRU", "LSTM", "RNN"):
        return [(weight, 2)]
    return []
