"""Which servers the tests use, in this order: the one given, one that runs here, the one of a wheel.

Given are TURNKEEPER_TEST_POSTGRES_URL, TURNKEEPER_TEST_REDIS_URL and TURNKEEPER_TEST_RABBITMQ_URL; a given
server that does not answer is an error, never a reason to look further. With TURNKEEPER_TEST_SERVERS=embedded
only wheels are used (RabbitMQ has none). Nothing is started before a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

import psycopg
import redis
from kombu.connection import Connection

from tests.fakes import embedded
from tests.fakes.databases import driverless

Kind = Literal["postgres", "redis", "rabbitmq"]

LOCAL: Mapping[Kind, str] = {
    "postgres": "postgresql://postgres@127.0.0.1:5432/postgres",
    "redis": "redis://127.0.0.1:6379",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
}
_TIMEOUT = 3  # seconds for a server to answer a probe


class Unavailable(Exception):
    """No server of that kind, and why; a test that needs one is skipped."""


class Misconfigured(Exception):
    """A server was asked for that is not there; the tests must not go on as if it were not."""


class Embedded(Protocol):
    """A server that we started: its URL, and the end of it."""

    url: str

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Server:
    """A server to use. `source` says where it came from, for the summary."""

    url: str
    source: str


class Servers:
    """Finds each kind of server once, when first asked, and stops on exit what it started itself."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        probes: Mapping[Kind, Callable[[str], None]] | None = None,
        starters: Mapping[Kind, Callable[[], Embedded]] | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._probes = PROBES if probes is None else probes
        self._starters = STARTERS if starters is None else starters
        self._found: dict[Kind, Server | Unavailable] = {}
        self._started: list[Embedded] = []
        mode = self._environment.get("TURNKEEPER_TEST_SERVERS") or "auto"
        if mode not in ("auto", "embedded"):
            raise Misconfigured(f"TURNKEEPER_TEST_SERVERS is {mode!r}; use 'auto' or 'embedded'")
        self._wheels_only = mode == "embedded"

    def get(self, kind: Kind) -> Server:
        """The server of that kind; raises Unavailable, or Misconfigured for a given one that is not there."""
        if kind not in self._found:
            try:
                self._found[kind] = self._find(kind)
            except Unavailable as reason:
                self._found[kind] = reason
        found = self._found[kind]
        if isinstance(found, Unavailable):
            raise found
        return found

    def summary(self) -> list[str]:
        """A line for each kind that was asked for."""
        return [
            f"{kind}: NOT AVAILABLE: {found}" if isinstance(found, Unavailable) else f"{kind}: {found.source}"
            for kind, found in self._found.items()
        ]

    def stop(self) -> None:
        """Stop what was started here."""
        while self._started:
            self._started.pop().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _find(self, kind: Kind) -> Server:
        tried = []
        if not self._wheels_only:
            name = f"TURNKEEPER_TEST_{kind.upper()}_URL"
            given = self._environment.get(name)
            if given:
                return self._given(kind, name, given)
            fault = self._fault(kind, LOCAL[kind])
            if fault is None:
                return Server(LOCAL[kind], f"running here, {LOCAL[kind]}")
            tried.append(f"none at {LOCAL[kind]} ({fault})")
        return self._embedded(kind, tried)

    def _given(self, kind: Kind, name: str, url: str) -> Server:
        if kind == "postgres":
            url = driverless(url)
        fault = self._fault(kind, url)
        if fault is not None:
            raise Misconfigured(f"{name} is set, but no server answers there ({fault}); start it or unset it")
        return Server(url, f"given by {name}")

    def _fault(self, kind: Kind, url: str) -> str | None:
        try:
            self._probes[kind](url)
        except (psycopg.Error, redis.RedisError, OSError, Refused) as error:
            return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return None

    def _embedded(self, kind: Kind, tried: list[str]) -> Server:
        start = self._starters.get(kind)
        if start is None:
            raise Unavailable("; ".join([*tried, "no wheel has one"]))
        try:
            server = start()
        except (embedded.CannotStart, ImportError) as error:
            raise Unavailable("; ".join([*tried, f"the wheel's does not start ({error})"])) from error
        self._started.append(server)
        return Server(server.url, "started from its wheel")


class Refused(Exception):
    """A server answers, but not in a way that tests can use."""


def probe_postgres(url: str) -> None:
    """Raise unless databases can be made there."""
    with psycopg.connect(url, connect_timeout=_TIMEOUT) as connection:
        row = connection.execute(
            "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    if row is None or not row[0]:
        raise Refused("the user may not create databases")


def probe_redis(url: str) -> None:
    """Raise unless it answers a ping."""
    with redis.Redis.from_url(url, socket_connect_timeout=_TIMEOUT, socket_timeout=_TIMEOUT) as client:
        client.ping()


def probe_rabbitmq(url: str) -> None:
    """Raise unless it takes a connection."""
    with Connection(url, connect_timeout=_TIMEOUT) as connection:  # type: ignore[no-untyped-call]
        # kombu's errors differ by transport; all that matters is that there is no connection.
        try:
            connection.connect()
        except connection.connection_errors as error:
            raise Refused(str(error) or type(error).__name__) from error


PROBES: Mapping[Kind, Callable[[str], None]] = {
    "postgres": probe_postgres,
    "redis": probe_redis,
    "rabbitmq": probe_rabbitmq,
}
STARTERS: Mapping[Kind, Callable[[], Embedded]] = {
    "postgres": embedded.EmbeddedPostgres.start,
    "redis": embedded.EmbeddedRedis.start,
}
