"""Gauges of the whole installation, asked from the database when somebody looks.

The database is asked from a loop and a connection of their own, so that a process that is busy answers too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable

from opentelemetry.metrics import Observation

from turnkeeper_client.portal import Portal
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.metrics import gauge
from turnkeeper_storage.repositories import figures
from turnkeeper_storage.repositories.figures import Cluster
from turnkeeper_storage.settings import Settings

# whoever asks more often is told what was found
FRESH_SECONDS = 5.0
LOOK_SECONDS = 3.0
log = logging.getLogger(__name__)


class ClusterFigures:
    """Looks at the database for gauges. Use it from any thread but its own."""

    def __init__(self, settings: Settings) -> None:
        self._portal = Portal()
        self._database = Database(
            settings.database_url,
            schema=settings.db_schema,
            pool_size=1,
            lease_seconds=settings.lease_seconds,
        )
        self._lock = threading.Lock()
        self._found: Cluster | None = None
        self._until = 0.0

    def begin(self) -> None:
        """Let the gauges be asked for. Once in a process."""
        gauge("turnkeeper.cluster.up", lambda: [Observation(0 if self.look() is None else 1)])
        self._gauge("turnkeeper.cluster.runs", lambda found: _runs(found, seconds=False))
        self._gauge("turnkeeper.cluster.oldest_run", lambda found: _runs(found, seconds=True))
        self._gauge("turnkeeper.cluster.waiting_sessions", lambda at: [Observation(at.waiting.count)])
        self._gauge("turnkeeper.cluster.queue_age", lambda at: [Observation(at.waiting.seconds)])
        self._gauge("turnkeeper.cluster.open_approvals", lambda at: [Observation(at.approvals.count)])
        self._gauge("turnkeeper.cluster.oldest_approval", lambda at: [Observation(at.approvals.seconds)])

    def look(self) -> Cluster | None:
        """What there is to do, as found at most FRESH_SECONDS ago; None when the database did not answer."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = self._ask()
                self._until = time.monotonic() + FRESH_SECONDS
            return self._found

    def close(self) -> None:
        """Close the connection."""
        try:
            self._portal.run(self._database.aclose(), LOOK_SECONDS)
        except TimeoutError:
            log.warning("the connection for metrics was not closed in time")
        finally:
            self._portal.close()

    def _ask(self) -> Cluster | None:
        async def look() -> Cluster:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._database.read(figures.cluster)

        try:
            return self._portal.run(look(), LOOK_SECONDS + 1.0)
        except (TurnkeeperError, TimeoutError) as error:
            log.warning("no figures of the installation: %s", type(error).__name__)
            return None

    def _gauge(self, name: str, shown: Callable[[Cluster], Iterable[Observation]]) -> None:
        def ask() -> Iterable[Observation]:
            found = self.look()
            return [] if found is None else shown(found)

        gauge(name, ask)


def _runs(found: Cluster, *, seconds: bool) -> list[Observation]:
    return [
        Observation(amount.seconds if seconds else amount.count, {"status": status})
        for status, amount in found.runs.items()
    ]
