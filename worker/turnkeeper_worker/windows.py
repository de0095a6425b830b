"""Built-in input callbacks: what of a long history the model is shown.

They compose with `chain`, read no more of the store than they need, and never tear a call from its output or
a reasoning item from what it produced. What they leave out stays in the store.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import OUTPUT_TYPES, Item, encode
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.valid_input import cut_is_clear, window

TokenCount: TypeAlias = Callable[[Item], int]
Callback: TypeAlias = Callable[[list[Item], list[Item]], "list[Item] | Awaitable[list[Item]]"]
PLACEHOLDER = "(left out: an output of an earlier turn)"
# what a window may need beyond its own size to see where it may cut
MARGIN = 16


class Window(ABC):
    """A callback that shows an end of the history, and can tell from such an end whether it is long enough.

    Derive from it for a window of one's own: `show` gives the items of the history to be shown, the objects
    that it was given, whole or changed in place.
    """

    # how many of the newest items to look at first
    first_look: int = 64

    @abstractmethod
    def show(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        """What of the history is shown before the new items."""

    @abstractmethod
    def enough(self, newest: Sequence[Item]) -> bool:
        """Whether more of the history before these newest items would change nothing."""

    def __call__(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        return [*self.show(history, new_items), *new_items]


@dataclass(frozen=True, slots=True)
class _LastItems(Window):
    count: int

    @property
    def first_look(self) -> int:  # type: ignore[override]
        return self.count + MARGIN

    def show(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        return window(history, self.count)

    def enough(self, newest: Sequence[Item]) -> bool:
        return len(newest) > self.count and cut_is_clear(newest, len(newest) - self.count)


@dataclass(frozen=True, slots=True)
class _LastTurns(Window):
    count: int

    @property
    def first_look(self) -> int:  # type: ignore[override]
        return self.count * 6 + MARGIN

    def show(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        start = _start_of_turns(history, self.count)
        return history[0 if start is None else start :]

    def enough(self, newest: Sequence[Item]) -> bool:
        return _start_of_turns(newest, self.count) is not None


@dataclass(frozen=True, slots=True)
class _TokenBudget(Window):
    limit: int
    count: TokenCount

    def show(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        left = self.limit - sum(map(self.count, new_items))
        return window(history, self._fitting(history, left))

    def enough(self, newest: Sequence[Item]) -> bool:
        fitting = self._fitting(newest, self.limit)
        return fitting < len(newest) and cut_is_clear(newest, len(newest) - fitting)

    def _fitting(self, items: Sequence[Item], left: int) -> int:
        """How many of the newest items fit."""
        for place, item in enumerate(reversed(items)):
            left -= self.count(item)
            if left < 0:
                return place
        return len(items)


@dataclass(frozen=True, slots=True)
class _DropToolOutputs(Window):
    older_than: int
    placeholder: str

    def show(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        start = _start_of_turns(history, self.older_than) if self.older_than else len(history)
        for item in history[: start or 0]:
            if item.get("type") in OUTPUT_TYPES:
                # in place: an item that the callback changed is still history, a new one would be stored
                item["output"] = self.placeholder
        return history

    def enough(self, newest: Sequence[Item]) -> bool:
        return False  # all of the history is shown


@dataclass(frozen=True, slots=True)
class _Chain(Window):
    """Windows only, so that an end of the history can be enough."""

    windows: tuple[Window, ...]

    @property
    def first_look(self) -> int:  # type: ignore[override]
        limiting = [one.first_look for one in self.windows if not isinstance(one, _DropToolOutputs)]
        return min(limiting, default=64)

    def show(self, history: list[Item], new_items: list[Item]) -> list[Item]:
        for one in self.windows:
            history = one.show(history, new_items)
        return history

    def enough(self, newest: Sequence[Item]) -> bool:
        # One that has enough gives just what it would give of the whole, so those after it do too.
        shown = [dict(item) for item in newest]
        for one in self.windows:
            if one.enough(shown):
                return True
            shown = one.show(shown, [])
        return False


def last_items(count: int) -> Window:
    """Show the newest `count` items of the history, fewer where the cut would tear a pair apart.

    Raises ConfigurationError.
    """
    return _LastItems(_number(count, "last_items", least=0))


def last_turns(count: int) -> Window:
    """Show the newest `count` turns of the conversation: each begins with a message of the user.

    The new input begins a turn of its own and is not counted. Raises ConfigurationError.
    """
    return _LastTurns(_number(count, "last_turns", least=1))


def token_budget(limit: int, count: TokenCount | None = None) -> Window:
    """Show as much of the history's end as fits into `limit` tokens together with the new items.

    The new items are always shown. `count` gives the tokens of one item; by default about one for four
    characters of its JSON, and four for what a message costs by itself. Raises ConfigurationError.
    """
    if count is not None and not callable(count):
        raise ConfigurationError(f"token_budget, count: {type(count).__name__}; use a function of one item")
    return _TokenBudget(_number(limit, "token_budget", least=1), count or about_tokens)


def drop_tool_outputs(*, older_than_turns: int, placeholder: str = PLACEHOLDER) -> Window:
    """Show the outputs of tools in the newest `older_than_turns` turns only; others are a short text.

    The calls stay, each with an output. Raises ConfigurationError.
    """
    if not isinstance(placeholder, str):
        raise ConfigurationError(f"drop_tool_outputs, placeholder: {type(placeholder).__name__}; use a text")
    older_than = _number(older_than_turns, "drop_tool_outputs, older_than_turns", least=0)
    return _DropToolOutputs(older_than, placeholder)


def chain(*callbacks: Callback) -> Callback:
    """One callback after the other: each is given what the one before shows of the history.

    Built-in ones and functions of one's own, sync or async. What a function of one's own returns is the
    history of those after it, but for the new items at its end. Raises ConfigurationError.
    """
    if not callbacks or not all(map(callable, callbacks)):
        raise ConfigurationError("chain: give it callbacks: functions of (history, new_items)")
    windows = tuple(one for one in callbacks if isinstance(one, Window))
    if len(windows) == len(callbacks):
        return _Chain(windows)

    async def chained(history: list[Item], new_items: list[Item]) -> list[Item]:
        shown = history
        for callback in callbacks:
            returned = callback(list(shown), list(new_items))
            result: object = await returned if inspect.isawaitable(returned) else returned
            if not isinstance(result, list):  # the merge tells its type
                return cast("list[Item]", result)
            shown = _without_new(result, new_items)
            new_items = result[len(shown) :]
        return [*shown, *new_items]

    return chained


def about_tokens(item: Item) -> int:
    """About how many tokens an item is: one for four characters of its JSON, and four of its own."""
    return len(encode(item)) // 4 + 4


async def read_window(session: Session, wanted: Window) -> list[Item]:
    """The end of a session's history that is enough for this window, read by doubling; the session's settings
    bound it.
    """
    settings = getattr(session, "session_settings", None)
    most = settings.limit if settings is not None else None
    size = max(1, wanted.first_look)
    while True:
        limit = size if most is None else min(size, most)
        newest = list(await session.get_items(limit=limit))
        if len(newest) < limit or limit == most or wanted.enough(newest):
            return newest
        size *= 2


def _start_of_turns(items: Sequence[Item], count: int) -> int | None:
    """Where the newest `count` turns begin; None when there are not so many."""
    for place in range(len(items) - 1, -1, -1):
        if items[place].get("role") == "user":
            count -= 1
            if count == 0:
                return place
    return None


def _without_new(result: list[Item], new_items: list[Item]) -> list[Item]:
    """The result without the new items at its end, as far as they are there."""
    fresh = {id(item) for item in new_items}
    end = len(result)
    while end and id(result[end - 1]) in fresh:
        end -= 1
    return result[:end]


def _number(value: object, what: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{what}: {value!r}; use a whole number of at least {least}")
    return value
