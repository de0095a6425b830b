"""Cancels, as they are told through Redis (PROTOCOL 2.12): a run in work here ends at once, not with a beat.

What is heard is a hint where to look: the flag counts that stands in the database. Without Redis, and for
what was told while nobody listened, there is the heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from itertools import islice

from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.live_wire import Wire
from turnkeeper_storage.publisher import cancel_channel
from turnkeeper_storage.repositories import runs
from turnkeeper_worker.held import HeldLease

# as Redis lists its clients
CLIENT_NAME = "turnkeeper-cancels"
FIRST_PAUSE = 0.1
LAST_PAUSE = 5.0
READ_SECONDS = 5.0
# between two looks at the database, however much is told
REST_SECONDS = 0.05
BATCH = 500
log = logging.getLogger(__name__)


class CancelListener:
    """Listens for one worker process, over one connection. `run` is the loop; nothing of it fails the worker.

    `held` are the leases of the process by session key, `claiming` the keys of sessions that it is about to
    hold; both as they are when one looks.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        database: Database,
        held: Mapping[str, HeldLease],
        claiming: Collection[str],
    ) -> None:
        self._url = url
        self._channel = cancel_channel(prefix)
        self._database = database
        self._held = held
        self._claiming = claiming
        self._to_check: dict[str, None] = {}
        self._has_news = asyncio.Event()
        self._is_away = False
        self.is_listening = asyncio.Event()

    async def run(self) -> None:
        """Listen for ever; come back by itself when Redis does."""
        checking = asyncio.create_task(self._check_for_ever(), name="turnkeeper-cancel-check")
        try:
            await self._listen_for_ever()
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)

    async def _listen_for_ever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                wire = await Wire.open(self._url, self._on_push, name=CLIENT_NAME)
                wire.send("SUBSCRIBE", self._channel)
                await wire.serve()
            except Exception as error:  # noqa: BLE001 - a client library raises what it likes; beats go on
                if not self._is_away:
                    log.warning("cancels are not heard (%s): heartbeats see them", type(error).__name__)
                self._is_away = True
            if self.is_listening.is_set():
                self.is_listening.clear()
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def _on_push(self, kind: bytes, name: str, payload: bytes) -> None:
        if kind == b"subscribe":
            self._is_away = False
            self.is_listening.set()
            self._look_at(self._held)  # what was told before was missed
        elif kind == b"message":
            try:
                key = ids.key_of(payload.decode())
            except (NotFound, UnicodeDecodeError):
                return
            if self._is_here(key):
                self._look_at((key,))

    def _look_at(self, keys: Collection[str]) -> None:
        self._to_check.update(dict.fromkeys(keys))
        if self._to_check:
            self._has_news.set()

    def _is_here(self, key: str) -> bool:
        return key in self._held or key in self._claiming

    async def _check_for_ever(self) -> None:
        while True:
            await self._has_news.wait()
            try:
                await self._check()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next cancel is to be heard
                log.warning("a cancel was not looked up (%s): heartbeats see it", type(error).__name__)
            await asyncio.sleep(REST_SECONDS)

    async def _check(self) -> None:
        keys = list(islice(self._to_check, BATCH))
        for key in keys:
            del self._to_check[key]
        if not self._to_check:
            self._has_news.clear()
        async with asyncio.timeout(READ_SECONDS):
            flagged = await self._database.read(lambda uow: runs.cancel_requested(uow, keys))
        for key, run_id in flagged.items():
            held = self._held.get(key)
            if held is not None and held.run_id == run_id:
                # behind the first step of its task, which begins with a flag of its own
                asyncio.get_running_loop().call_soon(_flag, held, run_id)
            elif self._is_here(key):
                # claimed, and on its way to who works on it
                self._look_at((key,))


def _flag(held: HeldLease, run_id: str) -> None:
    if held.run_id == run_id:
        held.cancel_requested.set()
