"""A socket, an event loop and the models behind them."""

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from lepton_ai.bundle.load import load
from lepton_ai.bundle.net import Net
from lepton_ai.errors import ServeError
from lepton_ai.serve.app import BODY_LIMIT, App
from lepton_ai.serve.model_host import QUEUE_LIMIT, ModelHost

#: How long a stopping server waits for the requests in hand.
GRACE_SECONDS = 10
_BACKLOG = 2048


def serve(
    bundles: Sequence[str | Path],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    threads: int | None = None,
    allow_public: bool = False,
    body_limit: int = BODY_LIMIT,
    on_start: Callable[[str, list[Net]], None] | None = None,
) -> None:
    """Serve ``bundles`` until SIGTERM or SIGINT, then finish the requests in hand and return.

    ``on_start`` gets the address and the networks once they answer. ``body_limit`` is in bytes.

    Raises:
        ServeError: the address is taken, unknown, or open to others without ``allow_public``; or
            two bundles carry one name.
        BundleError: a bundle cannot be loaded.
    """
    with ExitStack() as stack:
        # The address first: a bundle may take long to load, and a port in use should not.
        listener = stack.enter_context(bind(host, port, allow_public=allow_public))
        nets = [stack.enter_context(load(path, threads=threads)) for path in bundles]
        server = stack.enter_context(_server(nets, body_limit))
        if on_start is not None:
            on_start(address_of(listener), nets)
        with _stop_signals_are_enough():
            server.run(sockets=[listener])


@contextmanager
def running(
    *nets: Net, port: int = 0, body_limit: int = BODY_LIMIT, queue_limit: int = QUEUE_LIMIT
) -> Iterator[str]:
    """Serve loaded networks on a loopback port in the background; gives the address.

    Port 0 takes any that is free. The networks stay open afterwards.

    Raises:
        ServeError: the port is taken, or two networks carry one name.
    """
    with (
        bind("127.0.0.1", port) as listener,
        _server(nets, body_limit, queue_limit) as server,
    ):
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="lepton-serve", daemon=True
        )
        address = address_of(listener)
        thread.start()
        try:
            yield address  # the socket listens already: an early request waits, and is not refused
        finally:
            server.should_exit = True
            thread.join()


def bind(host: str, port: int, *, allow_public: bool = False) -> socket.socket:
    """A socket that listens at ``host`` and ``port``.

    Raises:
        ServeError: the address is taken, unknown, or open to others without ``allow_public``.
    """
    if not 0 <= port <= 65535:
        raise ServeError(f"a port wants 0 to 65535, and {port} came")
    family, address = _resolve(host, port)
    if not allow_public and not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
        raise ServeError(
            f"{host} can be reached from other machines and the server checks no keys; use "
            "127.0.0.1, or pass --allow-public if a gateway in front of it does"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # not only bound: two sockets may be bound to one port at once
    except OSError as failure:
        listener.close()
        raise ServeError(
            f"cannot listen on {host} port {port}: {failure.strerror}; "
            "choose another with --port, or stop what holds it"
        ) from failure
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as failure:
        raise ServeError(f"no address is known for the host {host!r}; use 127.0.0.1") from failure
    return found[0][0], found[0][4]


class _Server(uvicorn.Server):
    """Uvicorn, that says it is no longer ready before it stops."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._served = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.ready = False
        await super().shutdown(sockets)


@contextmanager
def _server(
    nets: Sequence[Net], body_limit: int, queue_limit: int = QUEUE_LIMIT
) -> Iterator[_Server]:
    names = [net.name for net in nets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ServeError(f"each model wants a name of its own, and several are called {twice}")
    hosts = [ModelHost(net, queue_limit=queue_limit) for net in nets]
    app = App(hosts, body_limit=body_limit)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        yield _Server(config, app)
    finally:
        for model_host in hosts:
            model_host.close()


@contextmanager
def _stop_signals_are_enough() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more; having stopped, that is of no use."""
    signals = (signal.SIGINT, signal.SIGTERM)
    held = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
