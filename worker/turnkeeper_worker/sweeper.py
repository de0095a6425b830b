"""The sweeper: takes stale work itself, as much as there are free slots (PROTOCOL 2.11)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from turnkeeper_storage.errors import TurnkeeperError

log = logging.getLogger(__name__)


async def sweep_for_ever(
    sweep: Callable[[], Awaitable[int]], every: float, said: str = "swept %d sessions"
) -> None:
    """Sweep at once, then every `every` seconds with jitter, so that many workers spread out.

    `said`: the log line about how many it were.
    """
    while True:
        try:
            taken = await sweep()
            if taken:
                log.info(said, taken)
        except TurnkeeperError as error:
            log.warning("sweep failed: %s", type(error).__name__)
        except Exception:
            # Whatever it was: a worker that no longer sweeps leaves sessions to nobody.
            log.exception("sweep failed")
        await asyncio.sleep(every * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, no secret
