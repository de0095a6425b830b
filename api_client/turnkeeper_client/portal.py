"""An event loop on a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from turnkeeper_storage.errors import TurnkeeperError

T = TypeVar("T")
CLOSE_SECONDS = 5.0


class Portal:
    """A loop in a daemon thread. Any thread but its own may `run` coroutines on it and wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="turnkeeper-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """The coroutine's result. An interrupt of the waiting thread cancels the coroutine.

        Raises TimeoutError, and cancels it, when it takes longer than `timeout` seconds.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise TurnkeeperError("a Client was called from its own loop; use AsyncClient in coroutines")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def iterate(self, things: AsyncGenerator[T, None]) -> Iterator[T]:
        """The same things, one blocking step after the other; when it is left early, so are they."""
        try:
            while True:
                try:
                    yield self.run(_next(things))
                except StopAsyncIteration:
                    return
        finally:
            # the loop may have ended meanwhile, and a generator that nobody has may be collected on it
            if self._takes_calls():
                with contextlib.suppress(TurnkeeperError, TimeoutError, RuntimeError):
                    self.run(things.aclose(), CLOSE_SECONDS)

    def _takes_calls(self) -> bool:
        return self._loop.is_running() and threading.current_thread() is not self._thread

    def close(self) -> None:
        """Stop the loop, end what runs on it, and join the thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_end_tasks())
        finally:
            self._loop.close()


async def _next(things: AsyncGenerator[T, None]) -> T:
    return await anext(things)


async def _end_tasks() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    # at the interpreter's exit no thread can be started, and this would start one
    with contextlib.suppress(RuntimeError):
        await loop.shutdown_default_executor()
