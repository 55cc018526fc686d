"""A loaded bundle: arrays or raw samples in, answers out."""

import threading
from collections.abc import Sequence
from typing import Any

from lepton_ai.bundle.manifest import Manifest
from lepton_ai.bundle.replay import Replay
from lepton_ai.engines.engine import EnginePlan, Executable
from lepton_ai.engines.turns import Turns
from lepton_ai.errors import BundleError, DataError, EngineError
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Arrays, Signature


class Net:
    """One network, ready to answer. Safe to call from several threads.

    As many calls run side by side as the plan has streams; others wait for their turn.

    ``engine`` and ``plan`` are what runs it here; ``notes`` are sentences its user should read,
    such as that the recorded engine could not be used. ``replay`` is what came of the golden calls,
    where they were replayed.
    """

    def __init__(
        self,
        manifest: Manifest,
        executable: Executable,
        *,
        processing: Processing | None = None,
        engine: str | None = None,
        plan: EnginePlan | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.manifest = manifest
        self.processing = processing
        self.engine = engine or manifest.engine
        self.plan = plan or manifest.plan
        self.notes = notes
        self.replay: Replay | None = None
        self._executable: Executable | None = executable
        self._turns = Turns(self.engine, [executable] * self.plan.streams)
        self._closing = threading.Lock()

    @property
    def name(self) -> str:
        """The name of the network."""
        return self.manifest.name

    @property
    def signature(self) -> Signature:
        """The names, dtypes and shapes of its inputs and outputs."""
        return self.manifest.signature

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call: arrays in, arrays out, by the model's own names.

        Raises:
            DataError: the inputs do not fit the signature; the message says how.
            EngineError: the engine failed on these inputs.
            BundleError: the network was closed.
        """
        checked = self.signature.check(inputs)
        try:
            executable = self._turns.take()
        except EngineError as failure:
            raise BundleError(f"{self.name} was closed; load the bundle again") from failure
        try:
            outputs = executable.run(checked)
        finally:
            self._turns.give(executable)
        missing = [name for name in self.signature.output_names if name not in outputs]
        if missing:
            raise EngineError(f"{self.engine} gives no output called {missing}")
        return {name: outputs[name] for name in self.signature.output_names}

    def predict(self, raws: Sequence[Any]) -> list[dict[str, Any]]:
        """One answer per raw sample (a text, an image), in the task's own terms.

        Samples are run one call each, as they were measured: a batch can change an answer.

        Raises:
            BundleError: the bundle has no processing; use :meth:`run`.
            DataError: a raw sample is not what the processing takes.
        """
        if self.processing is None:
            raise BundleError(f"{self.name} takes arrays, not raw samples; give it inputs by name")
        per_call = self._samples_per_call()
        try:
            feeds = [self.processing.feed([raw] * per_call) for raw in raws]
        except DataError:
            self.processing.feed(raws)  # all at once, so that the message counts as the caller does
            raise
        return [self.processing.present(self.run(feed))[0] for feed in feeds]

    def close(self) -> None:
        """Give back what the engine holds; a second call does nothing."""
        with self._closing:
            if self._executable is not None:
                self._turns.close()
                self._executable.close()
                self._executable = None

    def __enter__(self) -> "Net":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _samples_per_call(self) -> int:
        """How often a single sample is repeated to fill a batch of fixed size."""
        shape = self.signature.inputs[0].shape
        return shape[0] if shape and isinstance(shape[0], int) else 1
