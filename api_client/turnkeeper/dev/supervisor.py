"""Keeps the parts alive: starts them, starts them again, ends them in order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from turnkeeper.dev.console import Console
from turnkeeper.dev.exit_codes import BROKEN_MODULE, WRONG_CALL
from turnkeeper.dev.parts import Part
from turnkeeper.dev.processes import Child
from turnkeeper_storage.errors import ConfigurationError

START_SECONDS = 30.0
FIRST_PAUSE = 0.5
LAST_PAUSE = 10.0
# a part that ran for so long has earned a quick start again
STEADY_SECONDS = 10.0


class Slot:
    """The place of one part: who is in it, and what is wanted of it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.ready = asyncio.Event()
        self.reload = asyncio.Event()
        self.stop = asyncio.Event()
        self.child: Child | None = None
        self.pause = FIRST_PAUSE


class Supervisor:
    """All children of one `turnkeeper dev`. `can_reload`: whether a change of the code may still help."""

    def __init__(self, console: Console, *, can_reload: bool) -> None:
        self.can_reload = can_reload
        self.given_up = asyncio.Event()
        self.exit_code = 0
        self._console = console
        self._living: set[Child] = set()
        self._leaving: set[asyncio.Task[int]] = set()

    async def keep(self, slot: Slot, cwd: Path | None = None) -> None:
        """Run the slot's part until `slot.stop`, again whenever it ends or is to be reloaded."""
        try:
            while not slot.stop.is_set():
                slot.reload.clear()
                await self._run_once(slot, cwd)
        finally:
            await self._left(slot)

    def kill_all(self) -> None:
        """SIGKILL to everything that runs."""
        for child in self._living:
            child.kill()

    async def _run_once(self, slot: Slot, cwd: Path | None) -> None:
        part, began = slot.part, time.monotonic()
        child = slot.child = await Child.start(part, lambda line: self._heard(part, line), cwd)
        self._living.add(child)
        readying = asyncio.create_task(self._note_ready(slot, child))
        ending = asyncio.create_task(child.ended())
        try:
            await _first(asyncio.shield(ending), slot.reload.wait(), slot.stop.wait())
            if not ending.done():
                self._dismiss(slot, child)
                return
        except asyncio.CancelledError:
            child.kill()
            await ending
            raise
        finally:
            readying.cancel()
            if ending.done():
                self._living.discard(child)
        if time.monotonic() - began > STEADY_SECONDS:
            slot.pause = FIRST_PAUSE
        await self._mourn(slot, child, ending.result())

    def _dismiss(self, slot: Slot, child: Child) -> None:
        # It ends beside its successor: what is in work may take its time, what is new runs the new code.
        slot.child, slot.pause = None, FIRST_PAUSE
        leaving = asyncio.create_task(self._see_off(child))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _see_off(self, child: Child) -> int:
        try:
            return await child.end(child.part.stop_seconds)
        except asyncio.CancelledError:
            child.kill()
            await child.ended()
            raise
        finally:
            self._living.discard(child)

    async def _left(self, slot: Slot) -> None:
        mine = [task for task in self._leaving if not task.done()]
        if mine:
            await asyncio.wait(mine)
        slot.child = None

    async def _mourn(self, slot: Slot, child: Child, code: int) -> None:
        name = slot.part.name
        if not slot.part.is_shown:
            for line in child.last_lines:
                self._console.line(name, line)
        how = _ending(code)
        if code in (WRONG_CALL, BROKEN_MODULE):
            if not (slot.part.follows_code and self.can_reload):
                self._console.say(f"{name} {how}: that cannot be mended by starting it again")
                self.exit_code = code if code == WRONG_CALL else 1
                self.given_up.set()
                await slot.stop.wait()
                return
            self._console.say(f"{name} {how}; it starts again when the code changes")
            await _first(slot.reload.wait(), slot.stop.wait())
            return
        pause, slot.pause = slot.pause, min(slot.pause * 2, LAST_PAUSE)
        self._console.say(f"{name} {how}; it starts again in {pause:g} s")
        await _first(slot.reload.wait(), slot.stop.wait(), asyncio.sleep(pause))

    async def _note_ready(self, slot: Slot, child: Child) -> None:
        await child.ready.wait()
        slot.ready.set()

    def _heard(self, part: Part, line: str) -> None:
        if part.is_shown:
            self._console.line(part.name, line)


async def until_ready(slots: Iterable[Slot], stop: asyncio.Event) -> None:
    """Return when all are ready, or when `stop` is set. Raises ConfigurationError after START_SECONDS."""
    waiting = list(slots)
    try:
        async with asyncio.timeout(START_SECONDS):
            for slot in waiting:
                await _first(slot.ready.wait(), stop.wait())
    except TimeoutError:
        names = ", ".join(slot.part.name for slot in waiting if not slot.ready.is_set())
        raise ConfigurationError(f"not ready within {START_SECONDS:g} s: {names}; see above") from None


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


async def _first(*these: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> None:
    """Return when one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in these]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
