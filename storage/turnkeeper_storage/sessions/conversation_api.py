"""The calls of the Conversations API that a session makes, each with a time-out, most of them with retries.

Posted and read as plain JSON: the client's typed methods cost more than the call, and lose what they do not
know. Imported once the openai client is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import openai
from openai import AsyncOpenAI

from turnkeeper_storage.errors import ConfigurationError, InvalidInput
from turnkeeper_storage.items import Item, Json, encode
from turnkeeper_storage.sessions.conversation_errors import explained
from turnkeeper_storage.sessions.conversation_faults import (
    ATTEMPTS,
    Fault,
    Gone,
    Refused,
    timed_out,
    unreadable,
    wait_after,
)

T = TypeVar("T")
Order: TypeAlias = Literal["asc", "desc"]
CONNECT_TIMEOUT = 5.0
# what the API lists at once; a look at what came last needs less
MAX_PAGE = 100
SHORT_PAGE = 21
# what of an item is listed only when it is asked for, and would be lost
_INCLUDE = [
    "reasoning.encrypted_content",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "file_search_call.results",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as the API lists it: `id` is its own, `data` the whole."""

    id: str
    data: Json


@dataclass(frozen=True, slots=True)
class _Page:
    entries: list[Entry]
    has_more: Json


class ConversationApi:
    """The API over one client. `timeout` in seconds is of one request.

    Each call raises ConfigurationError for a wrong key, StoreUnavailable when it does not answer, Gone for
    what is not there, unless it says otherwise.
    """

    def __init__(self, client: AsyncOpenAI, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed, and another one is needed."""
        return self._client.is_closed()

    async def create(self, metadata: dict[str, str]) -> str:
        """A new conversation without items; its id."""

        async def attempt() -> str:
            return _id_of(await self._post("/conversations", {"metadata": metadata}))

        try:
            return await self._retried(attempt)
        except (Gone, Refused):
            raise ConfigurationError(
                "the server makes no conversations: it has no Conversations API; check base_url or "
                "OPENAI_BASE_URL"
            ) from None

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation; nothing happens when it is gone."""
        try:
            await self._retried(lambda: self._delete(_path(conversation_id)))
        except Gone:
            return
        except Refused as refused:
            raise _no_conversation(refused) from None

    async def add(self, conversation_id: str, items: Sequence[Item]) -> list[str]:
        """Add items, as many as the API takes at once; their ids.

        Tried once. Raises Gone, Refused, ConfigurationError and Fault.
        """
        answer = await self._post(f"{_path(conversation_id)}/items", {"items": list(items)})
        added = [_id_of(item) for item in _data_of(answer)]
        if len(added) != len(items):
            raise unreadable("its answer names other items than were added")
        return added

    async def remove(self, conversation_id: str, item_id: str) -> bool:
        """Delete one item; False when it was not there, or the conversation."""
        may_be_ours = False

        async def attempt() -> Json:
            nonlocal may_be_ours
            try:
                return await self._delete(f"{_path(conversation_id)}/items/{quote(item_id, safe='')}")
            except Fault as fault:
                may_be_ours = may_be_ours or fault.may_stand
                raise

        try:
            await self._retried(attempt)
        except Gone:
            # an attempt before this one did it, and its answer was lost
            return may_be_ours
        except Refused as refused:
            raise _no_conversation(refused) from None
        return True

    async def walk(
        self, conversation_id: str, order: Order, page: int = MAX_PAGE
    ) -> AsyncGenerator[list[Entry]]:
        """The entries in order, page by page: only what is asked for is read."""
        found = await self._page(conversation_id, order, page, None)
        while True:
            yield found.entries
            if not found.has_more:
                return
            cursor = found.entries[-1].id if found.entries else ""
            try:
                found = await self._page(conversation_id, order, page, cursor)
            except (Gone, InvalidInput):
                raise unreadable("it was changed while it was read").told() from None
            if not found.entries or found.entries[-1].id == cursor:
                raise unreadable("its pages do not come to an end").told()

    async def newest(self, conversation_id: str) -> Entry | None:
        """The last entry, None when there is none."""
        found = await self._page(conversation_id, "desc", 1, None)
        return found.entries[0] if found.entries else None

    async def after(self, conversation_id: str, item_id: str) -> list[Entry] | None:
        """The entries that came after this one ("": all), oldest first; None when it is not there."""
        newer: list[Entry] = []
        # From the end: what the API does with a cursor that is gone is not said.
        async with contextlib.aclosing(self.walk(conversation_id, "desc", SHORT_PAGE)) as pages:
            async for entries in pages:
                for entry in entries:
                    if entry.id == item_id:
                        return newer[::-1]
                    newer.append(entry)
        return newer[::-1] if item_id == "" else None

    async def _page(self, conversation_id: str, order: Order, limit: int, after: str | None) -> _Page:
        query: dict[str, object] = {"order": order, "limit": limit, "include": _INCLUDE}
        if after is not None:
            query["after"] = after

        async def attempt() -> _Page:
            answer = await self._get(f"{_path(conversation_id)}/items", query)
            return _Page([Entry(_id_of(data), data) for data in _data_of(answer)], answer.get("has_more"))

        try:
            return await self._retried(attempt)
        except Refused as refused:
            raise _no_conversation(refused) from None

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for number in range(ATTEMPTS):
            try:
                return await attempt()
            except Fault as fault:
                wait = wait_after(fault, number)
                if wait is None:
                    raise fault.told() from None
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _get(self, path: str, query: dict[str, object]) -> Json:
        options = self._options({"params": query})
        return await self._asked(self._client.get(path, cast_to=object, options=options))

    async def _post(self, path: str, body: dict[str, Json]) -> Json:
        # Our own text: the client's would not take a lone surrogate.
        content = encode(body, field="items").encode()
        options = self._options({})
        return await self._asked(self._client.post(path, content=content, cast_to=object, options=options))

    async def _delete(self, path: str) -> Json:
        return await self._asked(self._client.delete(path, cast_to=object, options=self._options({})))

    async def _asked(self, call: Awaitable[object]) -> Json:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                answer = await call
        except TimeoutError:
            if not limit.expired():
                raise
            raise timed_out(self._timeout) from None
        except (openai.OpenAIError, ValueError) as error:
            known = explained(error, self._timeout)
            # without the cause, which holds the request
            raise known from None
        return answer

    def _options(self, more: dict[str, Any]) -> Any:
        timeout = openai.Timeout(self._timeout, connect=min(CONNECT_TIMEOUT, self._timeout))
        return {"timeout": timeout, "max_retries": 0, **more}


def _no_conversation(refused: Refused) -> InvalidInput:
    return InvalidInput("conversation_id", refused.why, "give the id of a conversation")


def _path(conversation_id: str) -> str:
    return f"/conversations/{quote(conversation_id, safe='')}"


def _id_of(entry: Json) -> str:
    found = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(found, str) or not found:
        raise unreadable("its answer has no id")
    return found


def _data_of(answer: Json) -> list[Json]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise unreadable("its answer is no list of items")
    return data
