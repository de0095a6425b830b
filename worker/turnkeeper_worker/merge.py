"""The model's first input of a run, and what of it the run brought. Pure but for the user's callback.

Without a callback both are plain: history + new. With one, its return is the model's input, and stored is
what of it is not history.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from turnkeeper_storage.errors import InvalidInput, RunFailure
from turnkeeper_storage.items import Item, as_item, canonical, encode
from turnkeeper_storage.model import Merged

SessionInputCallback: TypeAlias = Callable[[list[Item], list[Item]], list[Item] | Awaitable[list[Item]]]


async def merge(
    history: Sequence[Item], new_items: Sequence[Item], callback: SessionInputCallback | None = None
) -> Merged:
    """Merge a run's items with the history.

    The callback, sync or async, is given deep copies. Raises RunFailure: `input_callback_failed` when it
    raises, `invalid_callback_result` when it returns anything but a list of items.
    """
    if callback is None:
        return Merged([*history, *new_items], list(new_items))
    old, new = copy.deepcopy(list(history)), copy.deepcopy(list(new_items))
    # The lists are the callback's to change; ours stay, and keep every object alive for the match.
    returned = _checked(await _called(callback, list(old), list(new)))
    return Merged(returned, brought(returned, old, new, history))


def brought(
    returned: Sequence[Item], old: Sequence[Item], new: Sequence[Item], history: Sequence[Item]
) -> list[Item]:
    """The returned items that are not history, in their order.

    `old` and `new` are the objects that the callback was given. An item is matched by identity first: a
    history item that the callback changed is still history. What it made itself is matched by content, as
    often as `history` has that content.
    """
    places = {id(item): index for index, item in enumerate(old)}
    fresh = {id(item) for item in new}
    matched: set[int] = set()
    verdicts: list[bool | None] = []
    for item in returned:  # identities first, so that a copy cannot use up what an original stands for
        place = places.pop(id(item), None)
        if place is not None:
            matched.add(place)
            verdicts.append(False)
        elif id(item) in fresh:
            fresh.discard(id(item))
            verdicts.append(True)
        else:
            verdicts.append(None)
    if None not in verdicts:  # as with all windows: no text of a long history has to be made
        return [item for item, is_new in zip(returned, verdicts, strict=True) if is_new]
    remaining = Counter(canonical(item) for place, item in enumerate(history) if place not in matched)
    stored: list[Item] = []
    for item, is_new in zip(returned, verdicts, strict=True):
        if is_new is None:
            text = canonical(item)
            remaining[text] -= 1
            if remaining[text] < 0:
                stored.append(item)
        elif is_new:
            stored.append(item)
    return stored


async def _called(callback: SessionInputCallback, old: list[Item], new: list[Item]) -> object:
    try:
        result = callback(old, new)
        return await result if inspect.isawaitable(result) else result
    except Exception as error:
        # Its text may quote an item: the type is what may be told.
        raise RunFailure(
            "input_callback_failed",
            f"session_input_callback raised {type(error).__name__}; it must return a list of items",
        ) from error


def _checked(result: object) -> list[Item]:
    if not isinstance(result, list):
        raise RunFailure(
            "invalid_callback_result",
            f"session_input_callback returned {type(result).__name__}; it must return a list of items",
        )
    try:
        for index, entry in enumerate(result):
            as_item(entry, field=f"session_input_callback result[{index}]")
        encode(result, field="session_input_callback result")
    except InvalidInput as error:
        raise RunFailure("invalid_callback_result", str(error)) from None
    # Identity matters for the match: plain dicts stay the objects they are.
    return [entry if type(entry) is dict else dict(entry) for entry in result]
