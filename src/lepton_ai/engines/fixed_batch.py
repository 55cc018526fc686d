"""A graph compiled for one number of samples, and once more for every other.

Where all sizes are known while a graph is compiled, kernels are chosen and memory is laid out once;
where one is free, some engines do it again in each call.
"""

import threading
from collections.abc import Callable, Sequence

from lepton_ai.engines.engine import Executable
from lepton_ai.engines.turns import Turns
from lepton_ai.model.signature import Arrays


class FixedBatch(Executable):
    """``fixed`` for calls whose inputs ``names`` have ``batch`` samples each.

    The others go to what ``compile_general`` returns, which is called when the first of them comes.
    As many calls at once as there are ``streams`` run in both together.
    """

    def __init__(
        self,
        engine: str,
        fixed: Executable,
        *,
        names: Sequence[str],
        batch: int,
        streams: int,
        compile_general: Callable[[], Executable],
    ) -> None:
        self._fixed = fixed
        self._names = tuple(names)
        self._batch = batch
        self._compile_general = compile_general
        self._general: Executable | None = None
        self._compiling = threading.Lock()
        self._turns = Turns(engine, range(streams))

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call, of the compilation that it fits."""
        turn = self._turns.take()
        try:
            return self._for(inputs).run(inputs)
        finally:
            self._turns.give(turn)

    def close(self) -> None:
        """Close both when their calls have ended."""
        self._turns.close()
        self._fixed.close()
        if self._general is not None:
            self._general.close()

    def _for(self, inputs: Arrays) -> Executable:
        try:
            for name in self._names:
                if len(inputs[name]) != self._batch:
                    return self._made_general()
        except (KeyError, TypeError):  # no input, or no array: the engine tells it by name
            pass
        return self._fixed

    def _made_general(self) -> Executable:
        with self._compiling:
            if self._general is None:
                self._general = self._compile_general()
            return self._general
