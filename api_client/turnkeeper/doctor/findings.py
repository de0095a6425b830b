"""What a check finds, and how long it may take. No check raises: what goes wrong is a finding."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Json
from turnkeeper_storage.tls import distrusted

T = TypeVar("T")


class Level(StrEnum):
    """How good it is; `fail` makes the exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` says what to do; empty when all is well."""

    check: str
    level: Level
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, Json]:
        return {"check": self.check, "level": self.level.value, "text": self.text, "remedy": self.remedy}


def ok(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, Level.WARN, text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, Level.FAIL, text, remedy)


async def within(seconds: float, check: str, remedy: str, work: Awaitable[list[Finding]]) -> list[Finding]:
    """The findings of `work`; one that fails when it raises or takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return [fail(check, f"no answer within {seconds:g} s", remedy)]
    except TurnkeeperError as error:
        return [fail(check, str(error), remedy)]
    except Exception as error:  # noqa: BLE001 - libraries raise what they like, and their texts may hold secrets
        refused = distrusted(error)
        if refused is not None:
            return [
                fail(
                    check, f"its certificate is not trusted ({refused})", f"{remedy}; see docs/guides/tls.md"
                )
            ]
        return [fail(check, f"does not work ({type(error).__name__})", remedy)]


async def in_thread(work: Callable[[], T]) -> T:
    """The result of a blocking function, on a thread that nobody waits for when it takes too long."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def target() -> None:
        result: T | None = None
        fault: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - told to the coroutine that waits
            fault = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, fault)

    threading.Thread(target=target, name="turnkeeper-doctor", daemon=True).start()
    return await done


def place(url: str) -> str:
    """Where a URL leads, without user, password and options."""
    parts = urlsplit(url.split(";")[0])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
