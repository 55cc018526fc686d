"""What a long command shows while it works: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from lepton_ai.plan.job import Event


class ProgressLine:
    """Shows events on stderr; use as a context manager and pass :meth:`show` as progress."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._started = time.monotonic()

    def __enter__(self) -> "ProgressLine":
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        line = self._line(event)
        if self._status is not None:
            self._status.update(line)
        else:
            self._console.print(line, soft_wrap=True)

    def _line(self, event: Event) -> str:
        seconds = int(time.monotonic() - self._started)
        count = f" {event.done + 1}/{event.total}" if event.total else ""
        best = f"  [dim]best so far: {escape(event.best)}[/dim]" if event.best else ""
        clock = f"{seconds // 60:d}:{seconds % 60:02d}"
        return f"[dim]{clock}[/dim] {event.stage}{count}: {escape(event.text)}{best}"
