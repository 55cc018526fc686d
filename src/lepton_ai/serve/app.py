"""The ASGI application: paths to models.

Bare ASGI: for a small network, a web framework costs more than the network does. Reading a body,
the network itself and writing the answer all happen in the model's own thread, so that health
checks are answered whatever the models are busy with.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from lepton_ai.bundle.net import Net
from lepton_ai.errors import EngineError, UserError
from lepton_ai.serve import protocol
from lepton_ai.serve.exchange import (
    ClientGoneError,
    Receive,
    Scope,
    Send,
    headers_of,
    read_body,
    respond,
)
from lepton_ai.serve.model_host import ModelHost
from lepton_ai.serve.predict import answer_predict
from lepton_ai.serve.refusal import RefusalError

BODY_LIMIT = 64 << 20
_JSON = {"content-type": "application/json"}
_LOG = logging.getLogger(__name__)

Answer = tuple[bytes, dict[str, str]]


class App:
    """Serves the models of ``hosts``, each under its own name. Call it as ASGI says."""

    def __init__(self, hosts: Sequence[ModelHost], *, body_limit: int = BODY_LIMIT) -> None:
        self.hosts = {host.net.name: host for host in hosts}
        self.body_limit = body_limit
        #: Cleared when the server begins to stop, so that nobody sends it new work.
        self.ready = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure becomes a status and a sentence."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        try:
            body, headers = await self._answer(scope, receive)
            status = 200
        except ClientGoneError:
            return
        except Exception as failure:  # whatever it is, the client gets a status and a sentence
            status, headers = _status_of(failure)
            body = protocol.json_bytes({"error": _sentence(failure, status)})
        await respond(send, status, body, headers, head_only=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        segments = [unquote(part) for part in raw_path.decode("latin-1").split("/")[1:]]
        if segments[-1] == "":
            segments.pop()
        match segments:
            case ["v2"]:
                return _read_only(scope, protocol.server_metadata)
            case ["v2", "health", "live"]:
                return _read_only(scope, lambda: {"live": True})
            case ["v2", "health", "ready"]:
                return _read_only(scope, self._readiness)
            case ["v2", "models", name, *rest]:
                return await self._model(self._host(name), rest, scope, receive)
            case ["predict", name]:
                return await self._predict(self._host(name), scope, receive)
        raise RefusalError(404, f"there is nothing at {scope['path']}; models are under /v2/models")

    async def _model(
        self, host: ModelHost, rest: list[str], scope: Scope, receive: Receive
    ) -> Answer:
        match rest:
            case ["versions", version, *rest]:
                _check_version(host.net, version)
        match rest:
            case []:
                return _read_only(scope, lambda: protocol.model_metadata(host.net))
            case ["ready"]:
                return _read_only(scope, lambda: {"name": host.net.name, **self._readiness()})
            case ["infer"]:
                return await self._infer(host, scope, receive)
        raise RefusalError(404, f"there is nothing at {scope['path']}")

    async def _infer(self, host: ModelHost, scope: Scope, receive: Receive) -> Answer:
        _check_method(scope, "POST")
        headers = headers_of(scope)
        content = await read_body(headers, receive, self.body_limit)

        def work(net: Net) -> protocol.Body:
            split = headers.get(protocol.BINARY_HEADER)
            request = protocol.decode_request(content, split, net.signature)
            return protocol.encode_response(net, request, net.run(request.inputs))

        body = await host.do(work)
        if body.json_length is None:
            return body.content, _JSON
        return body.content, {
            "content-type": "application/octet-stream",
            protocol.BINARY_HEADER: str(body.json_length),
        }

    async def _predict(self, host: ModelHost, scope: Scope, receive: Receive) -> Answer:
        _check_method(scope, "POST")
        headers = headers_of(scope)
        content = await read_body(headers, receive, self.body_limit)
        kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        answer = await host.do(lambda net: protocol.json_bytes(answer_predict(net, kind, content)))
        return answer, _JSON

    def _host(self, name: str) -> ModelHost:
        host = self.hosts.get(name)
        if host is None:
            raise RefusalError(404, f"no model is called {name!r}; here are {list(self.hosts)}")
        return host

    def _readiness(self) -> dict[str, Any]:
        if not self.ready:
            raise RefusalError(503, "the server is stopping")
        return {"ready": True}


def _read_only(scope: Scope, answer: Callable[[], Mapping[str, Any]]) -> Answer:
    _check_method(scope, "GET", "HEAD")
    return protocol.json_bytes(answer()), _JSON


def _check_method(scope: Scope, *allowed: str) -> None:
    if scope["method"] not in allowed:
        raise RefusalError(
            405,
            f"{scope['path']} wants {' or '.join(allowed)}, and {scope['method']} came",
            {"allow": ", ".join(allowed)},
        )


def _check_version(net: Net, version: str) -> None:
    if version != net.manifest.version:
        raise RefusalError(
            404, f"{net.name} is here in version {net.manifest.version!r}, not {version!r}"
        )


def _status_of(failure: Exception) -> tuple[int, dict[str, str]]:
    if isinstance(failure, RefusalError):
        return failure.status, {**_JSON, **failure.headers}
    return (400 if isinstance(failure, UserError) else 500), dict(_JSON)


def _sentence(failure: Exception, status: int) -> str:
    if status == 500 and not isinstance(failure, EngineError):
        _LOG.error("a request failed", exc_info=failure)
        return "the server failed on this request; its log says why"
    return str(failure)
