"""Whether what a client needs is there: database, migrations, broker. For health checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from turnkeeper_client.backend import Backend
from turnkeeper_storage.items import Json
from turnkeeper_storage.migrate import HEAD, Standing
from turnkeeper_storage.tls import distrusted

OK = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Of each part "ok", or what is wrong with it in words that hold no URL and no secret.

    A broker that is away holds up nothing but wake-ups: the sweepers of the workers find what was enqueued.
    """

    database: str
    migrations: str
    broker: str

    @property
    def is_ready(self) -> bool:
        """Whether runs can be accepted, which takes the database alone."""
        return (self.database, self.migrations) == (OK, OK)

    @property
    def status(self) -> str:
        """Either "ready"; or "degraded" while only the broker is away; or "not_ready"."""
        if not self.is_ready:
            return "not_ready"
        return "ready" if self.broker == OK else "degraded"

    def as_json(self) -> dict[str, Json]:
        """Plain JSON."""
        checks = {"database": self.database, "migrations": self.migrations, "broker": self.broker}
        return {"status": self.status, "checks": checks}


async def look_around(backend: Backend, timeout: float) -> Readiness:
    """Look at all parts at once; `timeout` in seconds."""
    (database, standing), (broker, _) = await asyncio.gather(
        _tried(backend.standing(), timeout), _tried(backend.reach_broker(timeout), timeout + 1.0)
    )
    return Readiness(database, _judged(standing), broker)


async def _tried(work: Awaitable[Standing | None], seconds: float) -> tuple[str, Standing | None]:
    try:
        async with asyncio.timeout(seconds):
            return OK, await work
    except TimeoutError:
        return f"no answer within {seconds:g} s", None
    except Exception as error:  # noqa: BLE001 - libraries raise what they like, and their texts may hold secrets
        refused = distrusted(error)
        return f"does not answer ({refused or type(error).__name__})", None


def _judged(standing: Standing | None) -> str:
    if standing is None:
        return "unknown"
    if standing.fits:
        return OK
    at = f"at revision {standing.revision}" if standing.revision else "not migrated"
    return f"{at}, this code needs {HEAD}"
