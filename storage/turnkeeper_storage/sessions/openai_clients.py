"""The openai clients of sessions that are given none: one for all sessions of a loop, a key and a server.

A factory opens a session for every look into it; a client for each would open a connection for each, and
nobody would close them. Connections belong to the loop that made them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.lazy_imports import import_once
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.tls import https_context

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True, slots=True)
class Where:
    """A server and the key for it; None: as the settings say."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None


@dataclass(slots=True)
class _Shared:
    making: asyncio.Future[AsyncOpenAI]
    holders: int = 0


_shared: dict[asyncio.AbstractEventLoop, dict[Where, _Shared]] = {}


async def hold(where: Where) -> AsyncOpenAI:
    """The running loop's client, made when there is none. Each hold is given back by `let_go`, or for all
    sessions of the loop by `close_all`.

    Raises ConfigurationError for a missing key or a missing openai library.
    """
    here = _here()
    if where not in here:
        here[where] = _Shared(asyncio.ensure_future(asyncio.to_thread(_make, where)))
    shared = here[where]
    shared.holders += 1
    try:
        return await asyncio.shield(shared.making)
    except BaseException:
        shared.holders -= 1
        if shared.making.done() and shared.making.exception() and here.get(where) is shared:
            del here[where]
        raise


async def let_go(where: Where) -> None:
    """Give a hold back; with the last one the client is closed."""
    here = _here()
    shared = here.get(where)
    if shared is None:
        return
    shared.holders -= 1
    if shared.holders <= 0:
        del here[where]
        await _close(shared)


async def close_all() -> None:
    """Close the running loop's clients: at the end of a process, or of its loop."""
    for shared in _shared.pop(asyncio.get_running_loop(), {}).values():
        await _close(shared)


def _here() -> dict[Where, _Shared]:
    for loop in [loop for loop in _shared if loop.is_closed()]:
        del _shared[loop]
    return _shared.setdefault(asyncio.get_running_loop(), {})


async def _close(shared: _Shared) -> None:
    client = await shared.making
    await client.close()


def _make(where: Where) -> AsyncOpenAI:
    """On a thread: the import takes half a second, and a client reads the system's certificates."""
    try:
        import_once("openai")
        import_once("aiohttp")
    except ImportError as error:
        raise ConfigurationError(
            f"sessions in the Conversations API need {error.name}, which is not installed; "
            "pip install 'turnkeeper[worker]'"
        ) from None
    from openai import AsyncOpenAI, DefaultAioHttpClient

    settings = load_settings(openai_api_key=where.api_key, openai_base_url=where.base_url)
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    if not key and not settings.openai_base_url:
        raise ConfigurationError(
            "there is no key for the Conversations API; give api_key, or set OPENAI_API_KEY"
        )
    context = https_context(settings.ca_file)
    try:
        return AsyncOpenAI(
            # The client wants a key; a server of one's own without one ignores it.
            api_key=key or "none",
            base_url=settings.openai_base_url,
            max_retries=0,
            http_client=DefaultAioHttpClient(verify=context if context is not None else True),
        )
    except Exception as error:  # noqa: BLE001 - its text may quote an address with a password
        raise ConfigurationError(
            f"no client for the Conversations API can be made ({type(error).__name__}); check base_url or "
            "OPENAI_BASE_URL"
        ) from None
