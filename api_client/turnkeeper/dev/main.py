"""`turnkeeper dev` from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from turnkeeper.dev.console import Console
from turnkeeper.dev.listening import listen
from turnkeeper.dev.place import Place, claim_place
from turnkeeper.dev.stage import Stage, Wishes, code_folders, plan_stage
from turnkeeper.dev.supervisor import Slot, Supervisor, until_ready
from turnkeeper.dev.watching import NoWatcher, changes, check_watcher
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import SchemaMismatch, TurnkeeperError
from turnkeeper_storage.migrate import check_schema, upgrade_async

INTERRUPTED = 130
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_dev(wishes: Wishes) -> int:
    """Run everything until Ctrl-C or SIGTERM; 0 after a clean end, 130 when a second one forced it.

    Blocks, and owns the process' signals meanwhile. Raises AlreadyRunning, ConfigurationError,
    SchemaMismatch, DatabaseUnavailable.
    """
    root = Path.cwd()
    folders = code_folders(wishes.module, root)
    can_reload, why_not = _watcher(wishes.reload)
    with claim_place(root) as place, listen(wishes.api_port) as listening:
        stage = plan_stage(wishes, place.folder, os.environ, listening)
        console = Console([part.name for part in (*stage.services, *stage.workers)])
        for line in stage.uses:
            console.say(line)
        if why_not:
            console.say(f"code reload: off, {why_not}")
        session = Session(stage, place, console, folders if can_reload else [])
        return asyncio.run(session.run())


def _watcher(wished: bool | None) -> tuple[bool, str]:
    if wished is False:
        return False, ""
    try:
        check_watcher()
    except NoWatcher as error:
        if wished:
            raise
        return False, str(error)
    return True, ""


class Session:
    """One run of `turnkeeper dev`: the services first, then the workers; the other way round at the end."""

    def __init__(self, stage: Stage, place: Place, console: Console, folders: list[Path]) -> None:
        self._stage = stage
        self._place = place
        self._console = console
        self._folders = folders
        self._stop = asyncio.Event()
        self._is_forced = False
        self._supervisor = Supervisor(console, can_reload=bool(folders))

    async def run(self) -> int:
        """Until the end; the exit code."""
        with self._signals():
            await self._prepare_database()
            services = [Slot(part) for part in self._stage.services]
            self._stage.valkey_folder.mkdir(mode=0o700, exist_ok=True)
            try:
                await self._serve(services)
            except BaseExceptionGroup as several:
                # one that the command line can tell is worth more than all of them
                told = [one for one in several.exceptions if isinstance(one, TurnkeeperError)]
                if told:
                    raise told[0] from None
                raise
        if self._is_forced:
            self._console.say("killed everything")
            return INTERRUPTED
        self._console.say("stopped")
        return self._supervisor.exit_code

    async def _serve(self, services: list[Slot]) -> None:
        async with asyncio.TaskGroup() as group:
            for slot in services:
                cwd = self._stage.valkey_folder if slot.part.name == "valkey" else None
                group.create_task(self._supervisor.keep(slot, cwd))
            try:
                await until_ready(services, self._stop)
                await self._work()
            finally:
                for slot in reversed(services):
                    slot.stop.set()

    async def _work(self) -> None:
        if self._stop.is_set():
            return
        self._place.tell(self._stage.urls)
        slots = [Slot(part) for part in self._stage.workers]
        async with asyncio.TaskGroup() as group:
            for slot in slots:
                group.create_task(self._supervisor.keep(slot))
            helpers = [
                group.create_task(self._announce(slots)),
                group.create_task(self._watch(slots)),
                group.create_task(self._watch_output()),
                group.create_task(self._watch_failure()),
            ]
            await self._stop.wait()
            self._place.forget()
            for slot in slots:
                slot.stop.set()
            for helper in helpers:
                helper.cancel()

    async def _prepare_database(self) -> None:
        url = self._stage.urls.database_url
        if self._stage.owns_database:
            try:
                await upgrade_async(url)
            except SchemaMismatch as error:
                raise SchemaMismatch(
                    error.found, error.expected, "remove .turnkeeper/dev.db to begin anew"
                ) from None
            return
        database = Database(url, schema=os.environ.get("TURNKEEPER_DB_SCHEMA"))
        try:
            await check_schema(database)
        finally:
            await database.aclose()

    async def _announce(self, slots: list[Slot]) -> None:
        for slot in slots:
            await slot.ready.wait()
        self._console.say("ready. In another terminal, in this folder: turnkeeper chat my-session")
        if self._stage.page is not None:
            self._console.say(f"in a browser: {self._stage.page}    the API in words: {self._stage.page}docs")
        self._console.say(f"for programs: . {self._place.folder.name}/dev.env    to stop: Ctrl-C")

    async def _watch(self, slots: list[Slot]) -> None:
        if not self._folders:
            return
        try:
            async for files in changes(self._folders, self._stop):
                named = ", ".join(sorted({file.name for file in files})[:3])
                self._console.say(f"{named} changed: new workers start, runs in work go on in them")
                for slot in slots:
                    slot.reload.set()
        except OSError as error:
            self._supervisor.can_reload = False
            self._console.say(f"code reload: off from now on ({error.strerror or type(error).__name__})")

    async def _watch_output(self) -> None:
        # somebody who pipes us into `head` has gone: there is nobody left to run for
        await self._console.broken.wait()
        self._stop.set()

    async def _watch_failure(self) -> None:
        await self._supervisor.given_up.wait()
        self._stop.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # one that is ignored stays so: `nohup` means it
        taken = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in taken:
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        if self._stop.is_set():
            self._is_forced = True
            self._supervisor.kill_all()
            return
        self._console.say("stopping: runs in work stop after their turn and go on next time (again: kill)")
        self._stop.set()
