"""Items as the Conversations API takes them, and as a session gives them out. Pure.

The API keeps items in a form of its own: it adds an id and a status, and makes a message's text a list of
parts. It refuses fields that it does not know.
"""

from __future__ import annotations

from turnkeeper_storage.input_items import clean
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.matching import NAMED_ANEW, can_be_kept

_PLAIN = {
    "input_text": frozenset({"type", "text"}),
    "text": frozenset({"type", "text"}),
    "output_text": frozenset({"type", "text", "annotations", "logprobs"}),
}


def as_sent(item: Item) -> Item | None:
    """The item as it is put into a request; None when the API has no place for it (see `can_be_kept`).

    Ids of messages, of calls of our own tools and of their outputs are left out: the API gives its own, and
    refuses those of other model servers. All others need theirs: calls of hosted tools are refused without.
    """
    sent = clean(item)
    if not can_be_kept(sent):
        return None
    return _without_id(sent)


def as_read(entry: Json) -> Item | None:
    """What the API lists as an input item; None when it is none, and so cannot be read.

    Left out are what an input must not have (see `clean`), the id and the status `completed` of messages, of
    calls of our own tools and of their outputs, and fields of these that are null. A model that is shown the
    API's id of an assistant message makes the API drop that message from the conversation. A message of one
    plain text has that text as its content again: a list of one such part reads as the text, which means the
    same. Everything else stays.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        return None
    item = _without_id(clean(entry))
    kind = item["type"]
    if kind not in NAMED_ANEW:
        return item
    read = {name: value for name, value in item.items() if value is not None}
    if read.get("status") == "completed":
        del read["status"]
    if kind != "message":
        return read
    if not isinstance(read.get("role"), str) or "content" not in read:
        return None
    return {**read, "content": _plain(read["content"])}


def _without_id(item: Item) -> Item:
    kind = item.get("type") or "message"
    if kind not in NAMED_ANEW or "id" not in item:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def _plain(content: Json) -> Json:
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return content
    part = content[0]
    known = _PLAIN.get(str(part.get("type")), frozenset())
    is_bare = known >= part.keys() and not part.get("annotations") and not part.get("logprobs")
    return part["text"] if is_bare and isinstance(part.get("text"), str) else content
