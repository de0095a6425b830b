"""Whether what a service gives back is what was given to it. Pure.

A service that keeps items in a form of its own adds ids and states, and writes a text as parts. What an item
says is compared here, not how.
"""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Item, Json, canonical, decode

_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
# what an item says by these it says; every other field may be the service's
_SAID = ("call_id", "name", "input", "approval_request_id", "approve")
# written by the model that made the item: compared when both sides have them
_MARKS = ("id", "encrypted_content")
# to these a service gives ids of its own
NAMED_ANEW = frozenset(
    {"message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
)


def can_be_kept(item: Item) -> bool:
    """Whether a service takes the item at all.

    A reasoning item with neither an id nor encrypted content says nothing to any model, and is refused.
    """
    return item.get("type") != "reasoning" or bool(item.get("id") or item.get("encrypted_content"))


def is_same_item(given: Item, shown: Item) -> bool:
    """Whether both say the same: type, role, texts, call id, name, arguments and output."""
    kind = _kind(given)
    if kind != _kind(shown) or given.get("role") != shown.get("role"):
        return False
    if any(given.get(name) not in (None, shown.get(name)) for name in _SAID):
        return False
    if _arguments(given) != _arguments(shown):
        return False
    if kind not in NAMED_ANEW:
        marks = [(given[name], shown[name]) for name in _MARKS if given.get(name) and shown.get(name)]
        if any(one != other for one, other in marks):
            return False
    return all(_parts(given.get(name)) == _parts(shown.get(name)) for name in _PARTS_OF.get(kind, ()))


def count_standing(planned: Sequence[Item], shown: Sequence[Item]) -> int | None:
    """How many of the planned items stand, when the service shows these since before they were added.

    None when it shows anything but a beginning of the plan. Items that cannot be kept count as standing with
    what stands before them.
    """
    place = 0
    for item in shown:
        while place < len(planned) and not _stands_as(planned[place], item):
            if can_be_kept(planned[place]):
                return None
            place += 1
        if place == len(planned):
            return None
        place += 1
    return place


# where the content of a kind stands: a text, or a list of parts
_PARTS_OF = {
    "message": ("content",),
    "function_call_output": ("output",),
    "custom_tool_call_output": ("output",),
    "reasoning": ("summary",),
}


def _stands_as(planned: Item, shown: Item) -> bool:
    return can_be_kept(planned) and is_same_item(planned, shown)


def _kind(item: Item) -> str:
    return str(item.get("type") or "message")


def _parts(value: Json) -> list[tuple[str, str]]:
    """A text or parts as (kind, text): texts are compared, of pictures and files only that they are there."""
    if isinstance(value, str):
        return [("text", value)]
    if not isinstance(value, list):
        return []
    return [_part(part) for part in value]


def _part(part: Json) -> tuple[str, str]:
    if not isinstance(part, dict):
        return "", ""
    kind = str(part.get("type"))
    if kind in _TEXT_PARTS:
        return "text", str(part.get("text"))
    return kind, str(part.get("refusal")) if kind == "refusal" else ""


def _arguments(item: Item) -> Json:
    """The arguments of a call: as JSON where they are some, so that spaces do not matter."""
    given = item.get("arguments")
    if not isinstance(given, str):
        return given
    try:
        return canonical(decode(given))
    except (ValueError, RecursionError, InvalidInput):
        return given
