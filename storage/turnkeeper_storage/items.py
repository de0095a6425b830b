"""Items: the entries of a history, as plain JSON.

An item is an OpenAI Responses *input item*, kept as the dict that came in. Nothing here knows a database
or a model client.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from turnkeeper_storage.errors import InvalidInput

# Free JSON: what a history holds is the caller's and the model's, and new item types must pass unharmed.
Json: TypeAlias = Any
Item: TypeAlias = dict[str, Json]

CALL_TYPES = frozenset({"function_call", "custom_tool_call"})
OUTPUT_TYPES = frozenset({"function_call_output", "custom_tool_call_output"})


def encode(value: Json, *, field: str = "value") -> str:
    """`value` as compact JSON text, in the order given.

    Raises InvalidInput for what JSON has no place for (NaN, bytes, objects, cycles, non-text keys). A lone
    surrogate is kept; two that make a character are read back as that character.
    """
    _reject_foreign_keys(value, field)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            field, f"cannot be written as JSON ({_why(error)})", "send plain JSON values"
        ) from None
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate survives only as an escape
        return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text


def decode(text: str) -> Json:
    """The value of a JSON text; raises ValueError when it is none."""
    return json.loads(text)


def canonical(value: Json) -> str:
    """One text for equal values, whatever the order of their keys: for digests and comparison.

    Raises InvalidInput as `encode` does.
    """
    _reject_foreign_keys(value, "value")
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            "value", f"cannot be written as JSON ({_why(error)})", "send plain JSON values"
        ) from None


def digest(value: Json) -> str:
    """SHA-256 of the canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def as_items(value: object, *, field: str = "input") -> list[Item]:
    """An input as items: a text becomes one user message, a list is checked and copied shallowly.

    Raises InvalidInput for an empty input and for entries that are not items.
    """
    if isinstance(value, str):
        if not value.strip():
            raise InvalidInput(field, "is an empty text", "send a text or a list of items")
        return [user_message(value)]
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise InvalidInput(field, f"is {type(value).__name__}", "send a text or a list of items")
    if not value:
        raise InvalidInput(field, "is an empty list", "send a text or at least one item")
    return [as_item(entry, field=f"{field}[{index}]") for index, entry in enumerate(value)]


def as_item(entry: object, *, field: str) -> Item:
    """One entry as an item: a mapping with a `type`, or with a `role` and `content` (a message)."""
    if not isinstance(entry, Mapping):
        raise InvalidInput(
            field,
            f"is {type(entry).__name__}",
            "an item is a JSON object, e.g. {'role': 'user', 'content': '…'}",
        )
    kind = entry.get("type")
    if isinstance(kind, str) and kind:
        return dict(entry)
    if kind is None and isinstance(entry.get("role"), str) and "content" in entry:
        return dict(entry)
    raise InvalidInput(field, "is no item", "give it a 'type', or a 'role' and 'content'")


def user_message(text: str) -> Item:
    """What a plain text stands for."""
    return {"type": "message", "role": "user", "content": text}


def text_of(item: Mapping[str, Json]) -> str:
    """The readable text of a message item, '' when it has none."""
    content = item.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") or part.get("refusal") for part in content if isinstance(part, Mapping))
    return "".join(part for part in parts if isinstance(part, str))


def _reject_foreign_keys(value: Json, field: str, depth: int = 0) -> None:
    # json.dumps turns 1, None and True into text keys without a word: what is read back would differ.
    if depth > 200:
        raise InvalidInput(field, "is nested over 200 levels deep", "send flatter JSON")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidInput(field, f"has a key of type {type(key).__name__}", "use text keys")
            if isinstance(inner, (Mapping, list, tuple)):
                _reject_foreign_keys(inner, field, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            if isinstance(inner, (Mapping, list, tuple)):
                _reject_foreign_keys(inner, field, depth + 1)


def _why(error: Exception) -> str:
    # The text of json's errors may quote a value, which may be a secret: name the kind of fault only.
    return "a value has no JSON form" if isinstance(error, TypeError) else "NaN, infinity or a cycle"
