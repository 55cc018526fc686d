"""``GatherElements`` for the reference: the evaluator's own fails along an axis longer than 64."""

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from lepton_ai.model.signature import Array


class GatherElements(OpRun):
    """One element of ``data`` along ``axis`` per element of ``indices``."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0, **_: Any) -> tuple[Array]:
        axis = axis % data.ndim
        window = tuple(
            slice(None) if other == axis else slice(size)
            for other, size in enumerate(indices.shape)
        )
        return (np.take_along_axis(data[window], indices, axis=axis),)
