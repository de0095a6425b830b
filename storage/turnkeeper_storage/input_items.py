"""What an item must not have that goes into a request. Pure."""

from __future__ import annotations

from turnkeeper_storage.items import Item

# What the SDKs and the server add to an item, and the server refuses when it comes back.
_NEVER_INPUT = frozenset({"parsed", "parsed_arguments", "created_by"})


def clean(item: Item) -> Item:
    """The item without the fields that an answer has and an input must not have."""
    unwanted = {name for name in item if name in _NEVER_INPUT}
    unwanted |= {name for name in ("id", "status") if name in item and item[name] is None}
    if item.get("type") == "reasoning":
        unwanted |= {"status"} & item.keys()
    content = item.get("content")
    dirty = isinstance(content, list) and any(isinstance(part, dict) and "parsed" in part for part in content)
    if not unwanted and not dirty:
        return item
    cleaned = {name: value for name, value in item.items() if name not in unwanted}
    if dirty:
        cleaned["content"] = [_without_parsed(part) for part in item["content"]]
    return cleaned


def _without_parsed(part: object) -> object:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name != "parsed"}
