"""The session in OpenAI's Conversations API: what its dashboard and the SDKs see too."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from turnkeeper_storage import ids
from turnkeeper_storage.errors import ConfigurationError, InvalidInput, NotFound, SessionChanged
from turnkeeper_storage.item_texts import checked_items
from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions import openai_clients
from turnkeeper_storage.sessions.conversation_faults import Gone
from turnkeeper_storage.sessions.conversation_ids import ConversationIds, MemoryConversationIds
from turnkeeper_storage.sessions.conversation_items import as_sent
from turnkeeper_storage.sessions.conversation_store import ConversationStore, Going, Planned
from turnkeeper_storage.sessions.openai_clients import Where
from turnkeeper_storage.sessions.protocol import SessionSettings, StoredEntry, effective_limit
from turnkeeper_storage.sessions.stores import CONVERSATIONS

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from turnkeeper_storage.sessions.conversation_api import ConversationApi

T = TypeVar("T")
# a session id that begins with it is a conversation's own, where nothing else says which it is
PREFIX = "conv_"
_CONVERSATION = re.compile(r"[A-Za-z0-9_-]{1,255}")
log = logging.getLogger(__name__)


class OpenAIConversationsSession:
    """A history in a conversation of OpenAI's API, or of a server that speaks it.

    Which conversation: with `conversations` one that is made at the first add, and found again through them;
    else the one of `conversation_id`, or of a `session_id` that begins with `conv_`. Without any of these one
    is made that only this object knows (its `conversation_id` says which it is).

    `clear_session` deletes a conversation that was made, and the next add makes a new one; one that was given
    is emptied. Without `client` (which stays yours) all sessions of a loop share one for their `api_key` and
    `base_url`, by default those of the settings; give it back with `aclose`, or `async with`.

    A message of one plain text reads back with that text as its content, other items as the API keeps them,
    without what an input must not have: see `as_read` in conversation_items. Reasoning items with neither an
    id nor encrypted content are not added, for the API refuses them.

    `timeout` in seconds is of one request. Raises ConfigurationError for a wrong key or a missing library,
    NotFound for a conversation that is gone, StoreUnavailable when the API does not answer, InvalidInput that
    names the place for items that it refuses.
    """

    store = CONVERSATIONS

    def __init__(
        self,
        session_id: str,
        *,
        client: AsyncOpenAI | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        conversation_id: str | None = None,
        conversations: ConversationIds | None = None,
        tenant: str = "default",
        session_settings: SessionSettings | None = None,
        timeout: float = 15.0,
    ) -> None:
        if client is not None and (api_key is not None or base_url is not None):
            raise ConfigurationError("give either client, or api_key and base_url")
        if conversation_id is not None and conversations is not None:
            raise ConfigurationError("give either conversation_id or conversations")
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self.tenant = ids.check_session_id(tenant, field="tenant")
        self.session_key = ids.session_key(tenant, session_id)
        # An id from outside must not lead past what is remembered, to a conversation of somebody else's.
        self._given = _given(session_id, conversation_id) if conversations is None else None
        self._conversations = MemoryConversationIds() if conversations is None else conversations
        self._seen = self._given
        self._client = client
        self._where = Where(api_key, base_url)
        self._timeout = timeout
        self._api: ConversationApi | None = None
        # the conversation, and the id of its last item, that the next add comes after
        self._marked: tuple[str, str] | None = None
        self._turn = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()

    @property
    def conversation_id(self) -> str | None:
        """The conversation as this object saw it last; None before there is one."""
        return self._seen

    async def get_items(self, limit: int | None = None) -> list[Item]:
        chosen = effective_limit(limit, self.session_settings)
        if chosen == 0:
            return []
        await self._behind_writes()
        return await self._there(lambda store: store.read(chosen), absent=[])

    async def add_items(self, items: list[Item]) -> None:
        """Append items in order, 20 in a request. One request stands whole or not at all, and once when its
        answer is lost; of several a beginning may stand when the API stops to answer, or the call is
        cancelled, in between.
        """
        new: list[Planned] = []
        for place, item in enumerate(checked_items(items)):
            sent = as_sent(item)
            if sent is not None:
                new.append(Planned(place, sent))
        if not new:
            return
        going = Going()
        try:
            await self._in_turn(lambda: self._add(new, going))
        except asyncio.CancelledError:
            going.is_given_up = True
            raise

    async def pop_item(self) -> Item | None:
        async def pop() -> Item | None:
            self._marked = None
            return await self._there(lambda store: store.pop(), absent=None)

        return await self._in_turn(pop)

    async def clear_session(self) -> None:
        await self._in_turn(self._clear)

    async def mark(self) -> str:
        """The conversation and its last item, `conv_…:msg_…`; "" when there is no conversation."""
        await self._behind_writes()
        end = await self._there(lambda store: store.end(), absent="")
        self._marked = None if self._seen is None else (self._seen, end)
        return "" if self._seen is None else f"{self._seen}:{end}"

    async def items_after(self, mark: str) -> list[Item]:
        """What came after the mark, oldest first. Raises SessionChanged when the mark is gone."""
        await self._behind_writes()
        conversation_id, _, end = mark.partition(":")
        if mark and await self._find() != conversation_id:
            raise SessionChanged(self.session_id)
        none: list[Item] | None = []
        items = await self._there(lambda store: store.after(end), absent=none)
        if items is None:
            raise SessionChanged(self.session_id)
        return items

    async def entries(self) -> list[StoredEntry]:
        await self._behind_writes()
        return await self._there(lambda store: store.entries(), absent=[])

    async def remove_entries(self, keys: Sequence[str]) -> None:
        """Delete these items one by one: when the API stops to answer, some may stay."""

        async def remove() -> None:
            self._marked = None
            await self._there(lambda store: store.remove(keys), absent=None)

        await self._in_turn(remove)

    async def aclose(self) -> None:
        """Let writes end that were begun, and give the shared client back; a client that was given stays."""
        await self._behind_writes()
        api, self._api = self._api, None
        if api is not None and self._client is None:
            await openai_clients.let_go(self._where)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _add(self, new: list[Planned], going: Going) -> None:
        going.check()
        api = await self._connected()
        marked, self._marked = self._marked, None
        for is_last in (False, True):
            found, is_new = await self._find_or_make(api)
            end = "" if is_new else marked[1] if marked is not None and marked[0] == found else None
            try:
                await ConversationStore(api, found).add(new, end, going)
                return
            except Gone:
                if is_last or await self._find() == found:
                    raise NotFound("conversation", found) from None

    async def _clear(self) -> None:
        found = await self._find()
        self._marked = None
        if found is None:
            return
        api = await self._connected()
        if self._given is None:
            # In this order: a conversation that nobody knows any more could not be deleted.
            await api.delete(found)
            await self._conversations.forget(self.session_key, found)
            self._seen = None
            return
        try:
            await ConversationStore(api, found).empty()
        except Gone:
            log.debug("conversation %s is gone, and so is what it had", found)

    async def _there(self, work: Callable[[ConversationStore], Awaitable[T]], *, absent: T) -> T:
        """What `work` gives in the session's conversation, `absent` when there is none."""
        found = await self._find()
        if found is None:
            return absent
        api = await self._connected()
        try:
            return await work(ConversationStore(api, found))
        except Gone:
            again = await self._find()
        if again is None:  # cleared meanwhile
            return absent
        if again == found:
            raise NotFound("conversation", found)
        try:
            return await work(ConversationStore(api, again))
        except Gone:
            raise NotFound("conversation", again) from None

    async def _find(self) -> str | None:
        """The session's conversation: asked for each time, as another process may have cleared it."""
        if self._given is None:
            self._seen = await self._conversations.get(self.session_key)
        return self._seen

    async def _find_or_make(self, api: ConversationApi) -> tuple[str, bool]:
        """The session's conversation, and whether it was made just now."""
        found = await self._find()
        if found is not None:
            return found, False
        made = await api.create({"turnkeeper_session": self.session_key})
        try:
            settled = await self._conversations.set_if_absent(self.session_key, made)
        except BaseException:
            # whether it was noted is not known: better one too many, without items, than one that is gone
            log.warning("conversation %s may be without a session", made)
            raise
        self._seen = settled
        if settled != made:
            try:
                await api.delete(made)
            except Exception as error:  # noqa: BLE001 - the items come first
                log.warning("conversation %s is without a session: %s", made, type(error).__name__)
        return settled, settled == made

    async def _connected(self) -> ConversationApi:
        if self._api is None or self._api.is_closed:
            client = self._client or await openai_clients.hold(self._where)
            from turnkeeper_storage.sessions.conversation_api import ConversationApi

            self._api = ConversationApi(client, self._timeout)
        return self._api

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do a write after those before it, as a task that the caller's cancellation does not tear."""
        task = asyncio.ensure_future(self._alone(work))
        self._writes.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _alone(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            return await work()

    def _forget(self, task: asyncio.Task[T]) -> None:
        self._writes.discard(task)
        # an abandoned write has nobody left to read its error
        if not task.cancelled():
            task.exception()

    async def _behind_writes(self) -> None:
        if self._writes:
            await asyncio.wait(set(self._writes))


def _given(session_id: str, conversation_id: str | None) -> str | None:
    """The conversation that the caller named."""
    if conversation_id is not None:
        if not _CONVERSATION.fullmatch(conversation_id):
            raise InvalidInput("conversation_id", "is no conversation's id", "give one, e.g. 'conv_…'")
        return conversation_id
    if not session_id.startswith(PREFIX):
        return None
    if not _CONVERSATION.fullmatch(session_id):
        raise InvalidInput(
            "session_id",
            f"begins with {PREFIX!r} and is no conversation's id",
            f"give that of a conversation, or one that begins otherwise than {PREFIX!r}",
        )
    return session_id
