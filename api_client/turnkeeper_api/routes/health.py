"""Whether the process lives, and whether it is of use. Without a credential, and without details."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Response

from turnkeeper_api.responses import ANYWHERE, described, documented, written
from turnkeeper_api.schemas import Alive, Readiness
from turnkeeper_client import AsyncClient
from turnkeeper_client.readiness import Readiness as Found

# whoever asks more often is told what was found
FRESH_SECONDS = 2.0


class Doctor:
    """Looks once for all who ask at the same time."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._found: Found | None = None
        self._until = 0.0
        self._looking: asyncio.Lock | None = None

    async def look(self) -> Found:
        """What was found, at most FRESH_SECONDS ago."""
        async with self._lock():
            if self._found is None or time.monotonic() >= self._until:
                self._found = await self._client.readiness()
                self._until = time.monotonic() + FRESH_SECONDS
            return self._found

    def _lock(self) -> asyncio.Lock:
        if self._looking is None:
            self._looking = asyncio.Lock()
        return self._looking


def health_router(client: AsyncClient) -> APIRouter:
    """`/livez` and `/readyz`."""
    router = APIRouter(tags=["health"])
    doctor = Doctor(client)

    @router.get("/livez", responses={**described(Alive, "It lives."), **documented(*ANYWHERE)})
    async def livez() -> Response:
        """Whether the process answers; asks nothing else."""
        return written({"status": "alive"})

    @router.get(
        "/readyz",
        responses={
            **documented(*ANYWHERE),
            **described(Readiness, "All is there, or `degraded`: only the broker is away."),
            **described(Readiness, "No run can be accepted; `checks` says what is not there.", 503),
        },
    )
    async def readyz() -> Response:
        """Whether the database answers and is migrated; told as well is whether the broker takes wake-ups."""
        found = await doctor.look()
        return written(found.as_json(), 200 if found.is_ready else 503)

    return router
