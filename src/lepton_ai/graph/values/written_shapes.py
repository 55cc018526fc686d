"""A shape in numbers, as Reshape takes one: sizes, 0 for a copied axis, -1 for the rest."""

from lepton_ai.graph.values.sizes import Sizes


def written(shape: Sizes, sizes: Sizes, asked: Sizes) -> list[int] | str:
    """The numbers that turn ``shape`` into ``sizes`` in every call, or why there are none.

    ``asked`` is what the node was given so far: where that was -1, one may be inferred still.
    """
    numbers: list[int | None] = []
    for axis, size in enumerate(sizes):
        was = asked[axis] if axis < len(asked) else None
        if isinstance(size, int) and size > 0:
            numbers.append(size)
        elif was == -1:
            numbers.append(-1)
        elif was == 0 or (size is not None and axis < len(shape) and size == shape[axis]):
            numbers.append(0)
        else:
            numbers.append(None)
    return _inferred(numbers, sizes)


def _inferred(numbers: list[int | None], sizes: Sizes) -> list[int] | str:
    """``numbers`` with the one that is missing left to be inferred."""
    missing = [size for size, number in zip(sizes, numbers, strict=True) if number is None]
    if not missing:
        return [number for number in numbers if number is not None]
    names = ", ".join("one that is not known" if size is None else str(size) for size in missing)
    if len(missing) > 1 or -1 in numbers:
        return f"more than one size depends on the call: {names}"
    if 0 in numbers:
        # Of no elements, -1 cannot be inferred, while the shape that was computed would do.
        return f"{names} cannot be inferred where another size may be zero"
    return [-1 if number is None else number for number in numbers]
