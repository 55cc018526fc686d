"""One HTTP exchange over ASGI: a body read within limits, and a response sent."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from lepton_ai.serve.refusal import RefusalError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A client that stops sending must not hold its connection for ever.
BODY_SECONDS = 30.0
#: How many times the limit is read and thrown away, so that a client that only listens once it has
#: sent everything still hears why it was refused.
DRAIN_FACTOR = 4
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers, names in lower case."""
    return {
        key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]
    }


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    """The whole body, decompressed, of at most ``limit`` bytes.

    Raises:
        RefusalError: larger (413), too slow (408), or in an encoding that is not spoken (415).
        ClientGoneError: the client left.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", *_WBITS}:
        raise RefusalError(
            415, f"the body wants the encoding gzip, deflate or none, and {encoding!r} came"
        )
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(headers, receive, limit)
    except TimeoutError as failure:
        raise RefusalError(408, f"the body did not come within {BODY_SECONDS:.0f} s") from failure
    return body if encoding == "identity" else _inflate(body, encoding, limit)


async def respond(
    send: Send, status: int, body: bytes, headers: Mapping[str, str], *, head_only: bool = False
) -> None:
    """Send one complete response."""
    fields = {**headers, "content-length": str(len(body))}
    encoded = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": b"" if head_only else body})


async def _read(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    waits_for_leave = headers.get("expect", "").lower() == "100-continue"
    if waits_for_leave and int(headers.get("content-length", 0)) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more and size <= limit * DRAIN_FACTOR:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
        more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    machine = zlib.decompressobj(_WBITS[encoding])
    try:
        content = machine.decompress(body, limit + 1)
    except zlib.error as failure:
        raise RefusalError(400, f"the body is not valid {encoding}: {failure}") from failure
    if len(content) > limit:
        raise _too_large(limit)
    if not machine.eof:
        raise RefusalError(400, f"the body is not valid {encoding}: it ends too early")
    return content


def _too_large(limit: int) -> RefusalError:
    return RefusalError(
        413, f"a body wants at most {limit} bytes, and more came", {"connection": "close"}
    )
