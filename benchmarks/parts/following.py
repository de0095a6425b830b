"""The other side of `benchmarks.parts.follower`: starts the process, gives it jobs, looks at it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psutil
import redis

from benchmarks.ground import Site, memory_bytes
from benchmarks.parts.follower import Found
from tests.fakes.processes import ROOT

START_SECONDS = 60.0
JOB_SECONDS = 180.0


class FollowerProcess:
    """A process that follows runs. `connections` to Redis and `memory` in bytes are of its last job."""

    def __init__(self, process: asyncio.subprocess.Process, redis_url: str) -> None:
        self._process = process
        self._redis_url = redis_url
        self.connections = 0
        self.memory = 0

    async def ready(self) -> None:
        """Return once it takes jobs."""
        said = await self._line(START_SECONDS)
        assert said == "ready", said

    async def follow(self, runs: Sequence[str], each: int, deltas: int) -> Found:
        """What its followers found, so many of each run; it ends when a delta is missing or came twice."""
        job = {"runs": list(runs), "each": each, "deltas": deltas}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        said = await self._line(JOB_SECONDS)
        assert said == "following", said
        self.connections = await asyncio.to_thread(redis_connections, self._redis_url, self._process.pid)
        self.memory = await asyncio.to_thread(memory_bytes, self._process.pid)
        return Found(**json.loads(await self._line(JOB_SECONDS)))

    async def _line(self, seconds: float) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            line = await self._process.stdout.readline()
        assert line, "the process of the followers ended; what it says stands above"
        return line.decode().strip()


@contextlib.asynccontextmanager
async def following(site: Site) -> AsyncIterator[FollowerProcess]:
    """A process that follows the runs of a site; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.parts.follower",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **site.env},
        cwd=ROOT,
    )
    try:
        follower = FollowerProcess(process, site.redis_url)
        await follower.ready()
        yield follower
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def redis_connections(url: str, pid: int) -> int:
    """How many connections a process here has, of those that Redis lists."""
    own = {str(one.laddr.port) for one in psutil.Process(pid).net_connections("tcp") if one.raddr}
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        listed: list[dict[str, Any]] = client.client_list()
    return sum(one["addr"].rpartition(":")[2] in own for one in listed)
