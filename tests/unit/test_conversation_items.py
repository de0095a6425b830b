"""Items as the Conversations API takes them, and as a session gives them out."""

from __future__ import annotations

import copy

import pytest

from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.sessions.conversation_items import as_read, as_sent

TEXT: Item = {"type": "input_text", "text": "hi"}
SAID: Item = {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
CITED: Item = {**SAID, "annotations": [{"type": "url_citation"}]}


def message(role: str, content: Json, **more: object) -> Item:
    return {"type": "message", "role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("kept", "read"),
    [
        (message("user", [TEXT], id="msg_1", status="completed", phase=None), message("user", "hi")),
        (message("assistant", [SAID], id="msg_1", status="completed"), message("assistant", "hi")),
        (message("assistant", "hi", phase="commentary"), message("assistant", "hi", phase="commentary")),
        (message("user", [TEXT, TEXT]), message("user", [TEXT, TEXT])),
        (message("assistant", [CITED]), message("assistant", [CITED])),
        (message("assistant", [SAID], status="incomplete"), message("assistant", "hi", status="incomplete")),
        (message("user", [{**TEXT, "more": 1}]), message("user", [{**TEXT, "more": 1}])),
        (message("user", [{"type": "input_text"}]), message("user", [{"type": "input_text"}])),
        (message("user", []), message("user", [])),
        (
            {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "c", "name": "f"},
            {"type": "function_call", "call_id": "c", "name": "f"},
        ),
        (
            {"type": "function_call_output", "id": "fco_1", "created_by": "u", "call_id": "c", "output": ""},
            {"type": "function_call_output", "call_id": "c", "output": ""},
        ),
        (
            {"type": "reasoning", "id": "rs_1", "status": "completed", "summary": [], "content": None},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": None},
        ),
        (
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ),
    ],
)
def test_an_item_reads_as_an_input_with_nothing_lost(kept: Item, read: Item) -> None:
    before = copy.deepcopy(kept)
    assert as_read(kept) == read
    assert kept == before


@pytest.mark.parametrize(
    "kept", [None, "text", [], {}, {"id": "msg_1"}, {"type": 7}, {"type": "message", "role": "user"}]
)
def test_what_is_no_item_cannot_be_read(kept: Json) -> None:
    assert as_read(kept) is None


@pytest.mark.parametrize(
    ("item", "sent"),
    [
        ({"role": "user", "content": "hi", "id": "msg_1"}, {"role": "user", "content": "hi"}),
        (message("assistant", [SAID], id="chatcmpl-1"), message("assistant", [SAID])),
        (
            {"type": "function_call", "id": "call_1", "call_id": "c", "parsed_arguments": {}},
            {"type": "function_call", "call_id": "c"},
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
        ),
        ({"type": "file_search_call", "id": "fs_1"}, {"type": "file_search_call", "id": "fs_1"}),
        ({"type": "reasoning", "id": None, "summary": []}, None),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "…"}]}, None),
    ],
)
def test_an_item_is_sent_without_what_the_api_refuses(item: Item, sent: Item | None) -> None:
    before = copy.deepcopy(item)
    assert as_sent(item) == sent
    assert item == before
