"""A graph compiled by AOTInductor, run: one package for all sizes, or one for each set of them."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.engine import EnginePlan, Executable
from lepton_ai.engines.feed import Feed, Wanted
from lepton_ai.engines.inductor_compiling import open_loader
from lepton_ai.engines.inductor_program import read_contents, torch_here
from lepton_ai.engines.inductor_sizes import Shapes, Sizes
from lepton_ai.errors import EngineError, first_line
from lepton_ai.model.signature import Array, Arrays, Signature, TensorSpec

#: Packages for particular sizes that are kept in memory, those called last.
MOST_PACKAGES = 8
#: Sets of sizes for which it is remembered which package takes them.
_MOST_SHAPES = 256

#: Makes the package for inputs of these shapes.
Make = Callable[[Shapes], "Package"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A compiled program in memory, and the sizes that it is for."""

    loader: Any
    sizes: Sizes


def open_package(folder: Path, plan: EnginePlan) -> Package | None:
    """The package in ``folder``; nothing if it holds none."""
    sizes = read_contents(folder).sizes
    if sizes is None:
        return None
    return Package(loader=open_loader(folder, plan.streams), sizes=sizes)


class Compiled(Executable):
    """Packages by sizes; ``make`` compiles those that are missing."""

    def __init__(
        self, signature: Signature, first: Package | None, make: Make, plan: EnginePlan, device: str
    ) -> None:
        self._torch = torch_here()
        self._signature = signature
        self._names = signature.input_names
        self._output_names = signature.output_names
        self._array = _numpy_array()
        self._feed = Feed("inductor", [_wanted(spec) for spec in signature.inputs])
        self._make: Make | None = make
        self._threads = plan.threads
        self._device = device
        self._packages: list[Package] = [] if first is None else [first]
        self._ready: OrderedDict[Any, Package] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call; the first in sizes that no package takes compiles one."""
        try:
            arrays = [inputs[name] for name in self._names]
            # Dtypes and shapes that were right once are right again.
            key = (len(inputs), *[(array.dtype, array.shape) for array in arrays])
            package = self._ready.get(key)
        except (KeyError, AttributeError, TypeError):
            package = None
        if package is None:
            package = self._checked(inputs)
            arrays = [inputs[name] for name in self._names]
        torch = self._torch
        if torch.get_num_threads() != self._threads:  # another plan may have set its own
            torch.set_num_threads(self._threads)
        try:
            tensors = [self._tensor(array) for array in arrays]
            answer = package.loader.run(tensors)
            values = [self._array(value) for value in answer]
        except Exception as failure:  # its exceptions share no base class
            raise EngineError(f"inductor failed: {first_line(failure)}") from failure
        return dict(zip(self._output_names, values, strict=True))

    def close(self) -> None:
        """Give back the packages."""
        with self._lock:
            self._make = None
            self._packages.clear()
            self._ready.clear()

    def _checked(self, inputs: Arrays) -> Package:
        """The package for ``inputs``, which are checked; it is found at once the next time."""
        self._feed.check(inputs)
        _check_shared(self._signature, inputs)
        arrays = [inputs[name] for name in self._names]
        for name, array in zip(self._names, arrays, strict=True):
            if array.size == 0:
                raise EngineError(f"input {name!r} is empty: an array of {array.shape} came")
        package = self._package_for(tuple(array.shape for array in arrays))
        key = (len(inputs), *[(array.dtype, array.shape) for array in arrays])
        with self._lock:
            self._ready[key] = package
            if len(self._ready) > _MOST_SHAPES:
                self._ready.popitem(last=False)
        return package

    def _package_for(self, shapes: Shapes) -> Package:
        found = self._known(shapes)
        if found is None:
            with self._making:  # one of the threads that wait for it compiles
                found = self._known(shapes)
                if found is None:
                    make = self._make
                    if make is None:
                        raise EngineError("this graph in inductor was closed; load it again")
                    found = make(shapes)
                    self._keep(found)
        return found

    def _known(self, shapes: Shapes) -> Package | None:
        with self._lock:
            for place, package in enumerate(self._packages):
                if package.sizes.fit(shapes):
                    self._packages.append(self._packages.pop(place))
                    return package
        return None

    def _keep(self, package: Package) -> None:
        """Hold ``package``, and let go of the one that was called for longest ago."""
        with self._lock:
            self._packages.append(package)
            if len(self._packages) > MOST_PACKAGES:
                gone = self._packages.pop(0)
                for key in [key for key, one in self._ready.items() if one is gone]:
                    del self._ready[key]

    def _tensor(self, array: Array) -> Any:
        """``array`` as a tensor, in the array's memory if it lies there in order."""
        flags = array.flags
        if not (flags.c_contiguous and flags.writeable):
            array = np.array(array, order="C")  # PyTorch takes no memory that may not be written
        if array.dtype.kind == "V":
            tensor = self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        else:
            tensor = self._torch.from_numpy(array)
        return tensor if self._device == "cpu" else tensor.to(self._device)


def _numpy_array() -> Callable[[Any], Array]:
    from lepton_ai.operators.namespaces.torch import numpy_array

    return numpy_array


def _wanted(spec: TensorSpec) -> Wanted:
    from lepton_ai.engines.inductor_program import dtype_of

    shape = None
    if spec.shape is not None:
        shape = tuple(size if isinstance(size, int) else None for size in spec.shape)
    return Wanted(name=spec.name, dtype=dtype_of(spec), shape=shape)


def _check_shared(signature: Signature, inputs: Arrays) -> None:
    """Raise :class:`EngineError` where sizes of one name differ."""
    sizes: dict[str, tuple[int, str]] = {}
    for spec in signature.inputs:
        for wanted, size in zip(spec.shape or (), inputs[spec.name].shape, strict=False):
            if isinstance(wanted, str) and sizes.setdefault(wanted, (size, spec.name))[0] != size:
                held, holder = sizes[wanted]
                raise EngineError(
                    f"inputs {holder!r} and {spec.name!r} share the size {wanted!r}, and "
                    f"{held} and {size} came"
                )
