"""For which sizes of its inputs a compiled program answers rightly.

``torch.export`` finds out while it traces: a size is free, or fixed, or bound to another, and there
may be conditions beside. They are kept with the program as text, and read here as arithmetic and
comparisons alone: nothing that was kept is run as Python.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Shapes = tuple[tuple[int, ...], ...]

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}
#: The least size that a trace has conditions for: it takes a size of one for any other.
_LEAST_TOLD = 2


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of each input, as numbers or formulas of symbols, and what holds for the symbols.

    ``ranges`` are the least and the greatest value of a symbol, ``None`` for no limit.
    """

    shapes: tuple[tuple[int | str, ...], ...]
    ranges: Mapping[str, tuple[int, int | None]]
    conditions: tuple[str, ...]

    @property
    def are_free(self) -> bool:
        """Whether there is more than one set of them."""
        return any(isinstance(size, str) for shape in self.shapes for size in shape)

    def fit(self, came: Shapes) -> bool:
        """Whether inputs of these shapes are answered rightly; if in doubt, not."""
        if [len(shape) for shape in came] != [len(shape) for shape in self.shapes]:
            return False
        pairs = [
            pair
            for wanted, shape in zip(self.shapes, came, strict=True)
            for pair in zip(wanted, shape, strict=True)
        ]
        symbols = {wanted: size for wanted, size in pairs if wanted in self.ranges}
        try:
            return (
                all(size == _value(wanted, symbols) for wanted, size in pairs)
                and all(self._is_within(name, size) for name, size in symbols.items())
                and all(_value(condition, symbols) for condition in self.conditions)
            )
        except (ValueError, ArithmeticError):
            return False

    def _is_within(self, symbol: Any, size: int) -> bool:
        least, most = self.ranges[symbol]
        return (size >= least or least <= _LEAST_TOLD) and (most is None or size <= most)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Sizes":
        """The inverse of :meth:`to_json`."""
        return cls(
            shapes=tuple(tuple(shape) for shape in record["shapes"]),
            ranges={name: (least, most) for name, (least, most) in record["ranges"].items()},
            conditions=tuple(record["conditions"]),
        )


def sizes_of(program: Any) -> Sizes:
    """What an ``ExportedProgram`` says about the sizes of its inputs."""
    from torch.utils._sympy.numbers import int_oo
    from torch.utils._sympy.printers import PythonPrinter

    written = PythonPrinter().doprint
    inputs = set(program.graph_signature.user_inputs)
    nodes = [one for one in program.graph.nodes if one.op == "placeholder" and one.name in inputs]
    shapes = tuple(tuple(_size(size, written) for size in node.meta["val"].shape) for node in nodes)
    ranges = {
        written(symbol): (
            int(bounds.lower) if bounds.lower != -int_oo else 0,
            None if bounds.upper == int_oo else int(bounds.upper),
        )
        for symbol, bounds in program.range_constraints.items()
    }
    mode = next((node.meta["val"].fake_mode for node in nodes), None)
    environment: Any = None if mode is None else mode.shape_env
    conditions = (
        {}
        if environment is None
        else {written(environment.simplify(guard.expr)): None for guard in environment.guards}
    )
    return Sizes(shapes=shapes, ranges=ranges, conditions=tuple(conditions))


def _size(size: Any, written: Callable[[Any], str]) -> int | str:
    """A size as a number or a formula; one that the trace has fixed may still look symbolic."""
    if isinstance(size, int):
        return size
    formula = size.node.expr
    return int(formula) if formula.is_number else written(formula)


def _value(formula: int | str, symbols: Mapping[Any, int]) -> Any:
    """What ``formula`` comes to; raises ``ValueError`` for what is not arithmetic."""
    if isinstance(formula, int):
        return formula
    if formula in symbols:
        return symbols[formula]
    try:
        return _evaluated(ast.parse(formula, mode="eval").body, symbols)
    except SyntaxError as failure:
        raise ValueError(formula) from failure


def _evaluated(node: ast.AST, symbols: Mapping[Any, int]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name) if name in symbols:
            return symbols[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_evaluated(left, symbols), _evaluated(right, symbols))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluated(operand, symbols)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluated(operand, symbols)
        case ast.BoolOp(op=op, values=values):
            every = [bool(_evaluated(one, symbols)) for one in values]
            return all(every) if isinstance(op, ast.And) else any(every)
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared([_evaluated(one, symbols) for one in (left, *others)], ops)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _CALLS:
            return _CALLS[name](*(_evaluated(one, symbols) for one in args))
    raise ValueError(ast.dump(node))


def _compared(values: Sequence[Any], ops: Sequence[ast.cmpop]) -> bool:
    for left, op, right in zip(values, ops, values[1:], strict=False):
        if type(op) not in _COMPARISONS:
            raise ValueError(ast.dump(op))
        if not _COMPARISONS[type(op)](left, right):
            return False
    return True
