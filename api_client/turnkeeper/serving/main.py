"""Serving the HTTP API with uvicorn."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnkeeper.cli.options import me
from turnkeeper.telemetry.logs import dress_server
from turnkeeper_storage.errors import ConfigurationError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from turnkeeper.serving.certificate import Certificate
    from turnkeeper_client import AsyncClient

FAILED = 1
# streams are told to end at once; what else is under way has so long
GRACE_SECONDS = 10
# of a request's line and headers, in bytes; what is over our own limit is told so, what is over this is not
MAX_HEAD = 65_536


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen; port 0 is any that is free."""

    host: str
    port: int

    def bind(self) -> socket.socket:
        """A socket that listens there. Raises ConfigurationError."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host.strip("[]"), self.port), family=family, backlog=2048)
        except OSError as error:
            raise ConfigurationError(
                f"--host, --port: cannot listen on {self.host} port {self.port} ({error.strerror}); "
                "use another one, or stop who has it"
            ) from None


@dataclass(frozen=True, slots=True)
class Handed:
    """A socket of the parent's that listens already, on the loopback."""

    descriptor: int
    host: str = "127.0.0.1"

    def bind(self) -> socket.socket:
        return socket.socket(fileno=self.descriptor)


def serve(
    client: AsyncClient,
    place: Place | Handed,
    *,
    auth: str,
    loglevel: str = "info",
    grace: int = GRACE_SECONDS,
    certificate: Certificate | None = None,
    dress: Callable[[FastAPI], None] | None = None,
    on_start: Callable[[str], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. The client is closed.

    `dress` adds routes to the app; `on_start` is told the URL, once it can be called. `grace`: seconds for
    requests that are under way at the end. With a `certificate` it speaks https, and nothing else.
    Raises InvalidInput and ConfigurationError before anything is opened.
    """
    try:
        import uvicorn

        from turnkeeper.serving.letting_in import authentication
        from turnkeeper_api import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("turnkeeper"):
            raise
        raise ConfigurationError(
            f"the HTTP API needs {error.name}, which is not installed; pip install 'turnkeeper[api]'"
        ) from error
    app = create_app(client=client, authenticate=authentication(auth, place.host, client, me("local")))
    # a signal ends the server with its lifespan: what comes after it may not be reached
    app.router.lifespan_context = _closing(client)
    if dress is not None:
        dress(app)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        log_level=loglevel,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_graceful_shutdown=grace,
        ssl_certfile=certificate.chain if certificate is not None else None,
        ssl_keyfile=certificate.key if certificate is not None else None,
    )
    config.load()
    dress_server(client.settings.log_format, loglevel)
    server = uvicorn.Server(config)
    scheme = "https" if certificate is not None else "http"
    with place.bind() as listening, _signals_taken():
        host, port = listening.getsockname()[:2]
        url = f"{scheme}://{_address(host, port)}"
        # uvicorn has set up the handlers of its own loggers only
        logging.getLogger("uvicorn.error").info("Turnkeeper's HTTP API listens on %s", url)
        if on_start is not None:
            on_start(url)
        server.run(sockets=[listening])
    return 0 if server.started else FAILED


def _closing(client: AsyncClient) -> Callable[[object], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with client:
            yield

    return lifespan


@contextlib.contextmanager
def _signals_taken() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more: that is not to end us in the middle of our end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
