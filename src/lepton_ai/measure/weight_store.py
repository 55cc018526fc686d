"""Weights written once, for graphs that are saved again and again while few weights change.

A tensor of ``onnx_ir`` is not changed once it is made, so which one it is tells what it holds.
"""

from pathlib import Path

import onnx_ir as ir

from lepton_ai.graph.onnx_file import save_graph

#: Smaller weights stay in the graph's own file.
LEAST_BYTES = 1 << 14
#: Where a weight begins in the file: ONNX's external data may be mapped from page boundaries.
PAGE = 4096


class WeightStore:
    """A file of weights in ``folder``, which grows by those that it does not hold yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = "weights.bin"
        self._places: dict[int, int] = {}
        #: The tensors are held on to, so that no other takes the place of one that is known.
        self._known: list[ir.TensorProtocol] = []

    def save(self, model: ir.Model, target: Path) -> None:
        """Write ``model`` to ``target``, in the store's folder, large weights beside it."""
        written = model.clone()
        for graph in written.graphs():
            for value in graph.initializers.values():
                tensor = value.const_value
                if tensor is not None and _is_large(tensor):
                    value.const_value = self._outside(tensor, str(value.name))
        save_graph(written, target)

    def _outside(self, tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
        if id(tensor) not in self._places:
            self._places[id(tensor)] = self._append(tensor)
            self._known.append(tensor)
        return ir.ExternalTensor(
            self._file,
            self._places[id(tensor)],
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
            base_dir=self._folder,
        )

    def _append(self, tensor: ir.TensorProtocol) -> int:
        """Where in the file the bytes of ``tensor`` begin."""
        with (self._folder / self._file).open("ab") as file:
            file.write(b"\0" * (-file.tell() % PAGE))
            place = file.tell()
            file.write(tensor.tobytes())
        return place


def _is_large(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes >= LEAST_BYTES
