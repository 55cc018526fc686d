"""One model's turnstile: work in threads of its own, few at a time, and a queue with an end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from lepton_ai.bundle.net import Net
from lepton_ai.serve.refusal import RefusalError

T = TypeVar("T")

#: Requests that may wait or run per model; beyond it, an honest "busy" is better than a long wait.
QUEUE_LIMIT = 64


class ModelHost:
    """A network and the threads that it runs in, outside the event loop.

    There are as many as its plan has streams, most often one: the engine itself uses several cores,
    and more calls side by side would only slow each other.
    """

    def __init__(self, net: Net, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self.net = net
        self._queue_limit = queue_limit
        self._pending = 0
        self._count_lock = Lock()
        self._threads = ThreadPoolExecutor(
            max_workers=net.plan.streams, thread_name_prefix=f"model-{net.name}"
        )

    async def do(self, work: Callable[[Net], T]) -> T:
        """The result of ``work`` on the network, when its turn has come.

        Raises:
            RefusalError: the queue is full (503).
        """
        with self._count_lock:
            if self._pending >= self._queue_limit:
                raise RefusalError(
                    503,
                    f"{self.net.name} is busy with {self._pending} requests; try again shortly",
                    {"retry-after": "1"},
                )
            self._pending += 1
        future = self._threads.submit(work, self.net)
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the work in hand finish and end the threads; the network stays open."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _leave(self, _: "Future[Any]") -> None:
        with self._count_lock:
            self._pending -= 1
