"""A module made of a graph, put back into a graph."""

import onnx_ir as ir

from lepton_ai.operators.module import GraphModule
from lepton_ai.operators.namespaces.torch import TorchNamespace


def lowered(module: GraphModule, model: ir.Model) -> ir.Model:
    """A copy of ``model``, of which ``module`` was made, with the weights that the module has now.

    Weights keep the dtype that they have in ``model``.
    """
    done = model.clone()
    namespace = TorchNamespace()
    weights = {**dict(module.weights.named_parameters()), **dict(module.weights.named_buffers())}
    held = {name: value for graph in done.graphs() for name, value in graph.initializers.items()}
    for field, name in module.initialisers.items():
        value = held[name]
        array = namespace.to_host(weights[field].detach().contiguous())
        value.const_value = ir.tensor(array, name=name)
    return done
