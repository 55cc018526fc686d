"""A Cast of a Cast."""

import onnx_ir as ir

from lepton_ai.graph.matching.chains.chain import Chain
from lepton_ai.graph.values.operands import attribute_int, is_standard

_INTEGERS = ("INT8", "INT16", "INT32", "INT64")
_NATURALS = ("UINT8", "UINT16", "UINT32", "UINT64")
_FLOATS = {"FLOAT16": 11, "BFLOAT16": 8, "FLOAT": 24, "DOUBLE": 53}


def _bits(name: str) -> int:
    return int("".join(filter(str.isdigit, name)))


def holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether each value of ``narrow`` is one of ``wide``."""
    a, b = wide.name, narrow.name
    if a == b:
        return True
    if b == "BOOL":
        return a in (*_INTEGERS, *_NATURALS, *_FLOATS)
    if b in _FLOATS:
        wider = {
            "FLOAT16": ("FLOAT", "DOUBLE"),
            "BFLOAT16": ("FLOAT", "DOUBLE"),
            "FLOAT": ("DOUBLE",),
        }
        return a in wider.get(b, ())
    if b not in _INTEGERS + _NATURALS:
        return False
    signed = b in _INTEGERS
    if a in _FLOATS:
        return _bits(b) - signed <= _FLOATS[a]
    if a in _INTEGERS:
        return _bits(a) > _bits(b)
    return a in _NATURALS and not signed and _bits(a) > _bits(b)


def merge(chain: Chain) -> bool:
    """Cast at once to the last dtype, if the first Cast loses nothing."""
    if not is_standard(chain.before, "Cast"):
        return False
    source, between = chain.source, chain.before.outputs[0]
    if source is None or source.dtype is None or between.dtype is None:
        return False
    if not holds(between.dtype, source.dtype):
        return chain.miss(f"{between.dtype.name} does not hold each value of {source.dtype.name}")
    last = attribute_int(chain.node, "to", 0)
    if last == ir.DataType.STRING:
        return chain.miss("how a number is spelt depends on its dtype")
    if last == source.dtype:
        return chain.hand_on(source, f"it was {source.dtype.name} before, and nothing was lost")
    if not chain.fire(f"what is {source.dtype.name} can be cast at once"):
        return False
    chain.read(source)
    return True
