"""The sweeper: takes stale work itself, as much as there are free slots (PROTOCOL 2.11)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.metrics import count

log = logging.getLogger(__name__)


async def sweep_for_ever(
    sweep: Callable[[], Awaitable[int]],
    every: float,
    said: str = "swept %d sessions",
    *,
    hurry: asyncio.Event | None = None,
) -> None:
    """Sweep at once, then every `every` seconds with jitter, so that many workers spread out.

    `said`: the log line about how many it were. `hurry`: sweep as soon as this is set.
    """
    hurry = hurry or asyncio.Event()
    while True:
        try:
            taken = await sweep()
            if taken:
                log.info(said, taken)
        except TurnkeeperError as error:
            count("turnkeeper.worker.sweep_failures")
            log.warning("sweep failed: %s", type(error).__name__)
        except Exception:
            count("turnkeeper.worker.sweep_failures")
            # Whatever it was: a worker that no longer sweeps leaves sessions to nobody.
            log.exception("sweep failed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every * random.uniform(0.75, 1.25)):  # noqa: S311 - jitter, no secret
                await hurry.wait()
        hurry.clear()
