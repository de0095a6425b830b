"""A history of items as the messages of a chat-completions request. Pure.

What that API has no place for: reasoning (left out), and items or parts of other kinds (ModelError). A tool's
message must follow the message that called it directly, so calls that stand together become one assistant
message, and their outputs are drawn up to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from turnkeeper_storage.items import Item, Json, encode
from turnkeeper_worker.models.base import ModelError

# Servers that speak only this API often know no `developer`; those that know it read `system` as one.
_ROLES: Mapping[str, str] = {
    "assistant": "assistant",
    "developer": "system",
    "system": "system",
    "user": "user",
}
# A refusal goes as text: the model sees its own words, also where a server knows no such part.
_TEXTS: Mapping[str, str] = {
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "text": "text",
}
_CHAT_PARTS = frozenset({"file", "image_url", "input_audio"})
_FILE_FIELDS = ("file_data", "file_id", "filename")


def to_messages(instructions: str, items: Sequence[Item]) -> list[dict[str, Json]]:
    """The messages of a request: the instructions first, then the items in their order.

    Assistant messages with nothing in them are left out: servers refuse them. Raises ModelError
    `unsupported_item` for what has no chat form.
    """
    messages: list[dict[str, Json]] = [{"role": "system", "content": instructions}] if instructions else []
    output_of = _outputs_by_call(items)
    drawn_up = set(output_of.values())
    group: list[int] = []
    for index, item in enumerate(items):
        if _is_said(item):
            group.append(index)
            continue
        messages += _group_messages(items, group, output_of)
        group = []
        if index not in drawn_up:
            messages.append(_other_message(item))
    return messages + _group_messages(items, group, output_of)


def _is_said(item: Item) -> bool:
    return item.get("type") in ("function_call", "reasoning") or _role(item) == "assistant"


def _role(item: Item) -> Json:
    return item.get("role") if item.get("type") in (None, "message") else None


def _outputs_by_call(items: Sequence[Item]) -> dict[int, int]:
    """The place of each answered call, with that of its output."""
    found: dict[int, int] = {}
    # Ids may come again in a long history: an output answers the newest open call of its id.
    waiting: dict[Json, int] = {}
    for index, item in enumerate(items):
        if item.get("type") == "function_call":
            waiting[_call_id(item)] = index
        elif item.get("type") == "function_call_output" and _call_id(item) in waiting:
            found[waiting.pop(_call_id(item))] = index
    return found


def _group_messages(
    items: Sequence[Item], group: Sequence[int], output_of: Mapping[int, int]
) -> list[dict[str, Json]]:
    """What the model said in a row: messages by themselves, and one with all calls and the text at them."""
    calls = [index for index in group if items[index].get("type") == "function_call"]
    texts = [index for index in group if _role(items[index]) == "assistant"]
    if not calls:
        return _assistant_messages(items, texts)
    before = [index for index in texts if index < calls[0]]
    parts = [part for index in texts[max(len(before) - 1, 0) :] for part in _parts(items[index])]
    called = {
        "role": "assistant",
        "content": _folded(parts) or None,
        "tool_calls": [_tool_call(items[index]) for index in calls],
    }
    outputs = sorted(output_of[index] for index in calls if index in output_of)
    return [
        *_assistant_messages(items, before[:-1]),
        called,
        *(_tool_message(items[index]) for index in outputs),
    ]


def _assistant_messages(items: Sequence[Item], places: Sequence[int]) -> list[dict[str, Json]]:
    contents = [_folded(_parts(items[index])) for index in places]
    return [{"role": "assistant", "content": content} for content in contents if content]


def _tool_call(item: Item) -> dict[str, Json]:
    function = {"name": item.get("name", ""), "arguments": item.get("arguments", "")}
    return {"id": _call_id(item), "type": "function", "function": function}


def _other_message(item: Item) -> dict[str, Json]:
    kind = item.get("type")
    if kind == "function_call_output":
        return _tool_message(item)
    if kind not in (None, "message"):
        raise unsupported(f"item of type {word(kind)}")
    role = _ROLES.get(item["role"]) if isinstance(item.get("role"), str) else None
    if role is None:
        raise unsupported(f"message of role {word(item.get('role'))}")
    return {"role": role, "content": _folded(_parts(item))}


def _tool_message(item: Item) -> dict[str, Json]:
    return {"role": "tool", "tool_call_id": _call_id(item), "content": _output_text(item.get("output"))}


def _output_text(output: Json) -> str:
    if isinstance(output, str):
        return output
    if not isinstance(output, list):
        return encode(output, field="output")
    # A tool's message is text, whatever else a user's may be.
    for part in output:
        if _type_of(part) not in _TEXTS:
            raise unsupported(f"tool output with a part of type {word(_type_of(part))}")
    return "\n".join(_text(part) for part in output)


def _parts(item: Item) -> list[dict[str, Json]]:
    """The content of a message as chat parts, without empty texts."""
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if content is not None and not isinstance(content, list):
        raise unsupported(f"message whose content is of type {type(content).__name__}")
    parts = [_part(part) for part in content or ()]
    return [part for part in parts if part.get("text") != ""]


def _part(part: Json) -> dict[str, Json]:
    kind = _type_of(part)
    if kind in _TEXTS:
        return {"type": "text", "text": _text(part)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_file" and not part.get("file_url"):
        return {"type": "file", "file": {name: part[name] for name in _FILE_FIELDS if part.get(name)}}
    if kind in _CHAT_PARTS:
        return dict(part)
    if kind == "input_image":
        raise unsupported("input_image without an image_url")
    raise unsupported("input_file with a file_url" if kind == "input_file" else f"part of type {word(kind)}")


def _folded(parts: list[dict[str, Json]]) -> str | list[dict[str, Json]]:
    # Many servers take only a text: a list is for what needs one.
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _text(part: Mapping[str, Json]) -> str:
    text = part.get(_TEXTS[part["type"]])
    return text if isinstance(text, str) else ""


def _type_of(part: Json) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else "unknown"


def _call_id(item: Item) -> str:
    call_id = item.get("call_id")
    return call_id if isinstance(call_id, str) else ""


def unsupported(what: str) -> ModelError:
    """The history holds something that has no chat form."""
    return ModelError(
        "unsupported_item",
        f"chat completions have no place for this: {what}; leave it out with a session_input_callback, "
        "or use a server with the Responses API",
    )


def word(value: Json) -> str:
    """The name of a type or a role; of anything else nothing, for it may be content."""
    text = value if isinstance(value, str) else type(value).__name__
    return text if len(text) <= 64 and text.replace("_", "").replace("-", "").isalnum() else "unknown"
