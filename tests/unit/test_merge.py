"""History + new items, and what a callback makes of them."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item, canonical
from turnkeeper_worker import merge as merge_module
from turnkeeper_worker.merge import SessionInputCallback, merge


def said(text: str, role: str = "user") -> Item:
    return {"type": "message", "role": role, "content": text}


OLD = [said("one"), said("two", "assistant")]
NEW = [said("three")]


async def failing(callback: object) -> RunFailure:
    with pytest.raises(RunFailure) as caught:
        await merge(OLD, NEW, cast(SessionInputCallback, callback))
    return caught.value


async def test_without_a_callback_the_model_gets_history_and_new() -> None:
    merged = await merge(OLD, NEW)
    assert merged.model_input == [*OLD, *NEW]
    assert merged.stored_input == NEW


async def test_the_return_of_a_callback_is_the_model_input() -> None:
    extra = said("extra", "developer")
    merged = await merge(OLD, NEW, lambda history, new: [extra, *new, history[1]])
    assert merged.model_input == [extra, *NEW, OLD[1]]
    assert merged.stored_input == [extra, *NEW]


async def test_an_async_callback_is_awaited() -> None:
    async def newest(history: list[Item], new: list[Item]) -> list[Item]:
        await asyncio.sleep(0)
        return history[-1:] + new

    merged = await merge(OLD, NEW, newest)
    assert merged.model_input == [OLD[1], *NEW]
    assert merged.stored_input == NEW


async def test_new_items_that_a_callback_drops_are_not_stored() -> None:
    merged = await merge(OLD, NEW, lambda history, new: history)
    assert merged.stored_input == []


async def test_a_callback_cannot_change_what_it_is_given() -> None:
    history: list[Item] = [{"role": "user", "content": [{"type": "input_text", "text": "one"}]}]

    def spoil(old: list[Item], new: list[Item]) -> list[Item]:
        old[0]["content"][0]["text"] = "spoilt"
        result = old + new
        old.clear()
        new.clear()
        return result

    merged = await merge(history, NEW, spoil)
    assert history[0]["content"][0]["text"] == "one"
    assert merged.stored_input == NEW


async def test_a_history_item_that_a_callback_changed_is_still_history() -> None:
    def redact(history: list[Item], new: list[Item]) -> list[Item]:
        for item in history:
            item["content"] = "…"
        return history + new

    merged = await merge(OLD, NEW, redact)
    assert [item["content"] for item in merged.model_input] == ["…", "…", "three"]
    assert merged.stored_input == NEW


async def test_a_new_item_that_a_callback_changed_is_stored_changed() -> None:
    def shout(history: list[Item], new: list[Item]) -> list[Item]:
        new[0]["content"] = "THREE"
        return history + new

    assert (await merge(OLD, NEW, shout)).stored_input == [said("THREE")]


async def test_a_copy_of_a_history_item_is_matched_by_content() -> None:
    merged = await merge(OLD, NEW, lambda history, new: [dict(item) for item in history + new])
    assert merged.stored_input == NEW


async def test_keys_in_another_order_are_the_same_content() -> None:
    def turned(history: list[Item], new: list[Item]) -> list[Item]:
        return [dict(reversed(item.items())) for item in history] + new

    assert (await merge(OLD, NEW, turned)).stored_input == NEW


async def test_a_new_item_with_the_content_of_history_is_stored_by_its_identity() -> None:
    merged = await merge([said("again")], [said("again")], lambda history, new: [*history, *new])
    assert merged.stored_input == [said("again")]


async def test_copies_are_history_as_often_as_history_has_them() -> None:
    history = [said("again"), said("again")]
    merged = await merge(history, [], lambda old, new: [said("again"), said("again"), said("again")])
    assert merged.stored_input == [said("again")]


async def test_a_copy_before_its_original_does_not_use_it_up() -> None:
    merged = await merge([said("again")], [], lambda old, new: [dict(old[0]), old[0]])
    assert merged.stored_input == [said("again")]


@pytest.mark.parametrize("returned", [None, "text", {"role": "user", "content": "x"}, (said("x"),), 3])
async def test_anything_but_a_list_fails_the_run(returned: object) -> None:
    failure = await failing(lambda history, new: returned)
    assert failure.code == "invalid_callback_result"
    assert type(returned).__name__ in failure.message


@pytest.mark.parametrize(
    "entry", ["text", None, {}, {"content": "x"}, {"type": "message", "content": {1, 2}}]
)
async def test_a_list_of_anything_but_items_fails_the_run(entry: object) -> None:
    failure = await failing(lambda history, new: [*new, entry])
    assert failure.code == "invalid_callback_result"


async def test_a_callback_that_raises_fails_the_run_and_is_not_quoted() -> None:
    def fall(history: list[Item], new: list[Item]) -> list[Item]:
        raise KeyError(history[0]["content"])

    failure = await failing(fall)
    assert failure.code == "input_callback_failed"
    assert "KeyError" in failure.message
    assert "one" not in failure.message


async def test_a_cancelled_callback_is_not_a_failure() -> None:
    reached = asyncio.Event()

    async def wait(history: list[Item], new: list[Item]) -> list[Item]:
        reached.set()
        await asyncio.Event().wait()
        return new

    task = asyncio.create_task(merge(OLD, NEW, wait))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_object_that_a_history_holds_twice_is_history_both_times() -> None:
    hello = said("hello")
    merged = await merge([hello, hello], NEW, lambda history, new: [*history, *new])
    assert merged.stored_input == NEW


async def test_no_text_is_made_of_a_history_whose_own_objects_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Item] = []

    def noted(item: Item) -> str:
        made.append(item)
        return canonical(item)

    monkeypatch.setattr(merge_module, "canonical", noted)
    history = [said(str(number)) for number in range(3)]
    await merge(history, NEW, lambda old, new: [*old[-1:], *new])
    await merge(history, NEW, lambda old, new: [*old, *new])
    assert made == []
    await merge(history, NEW, lambda old, new: [*map(dict, old), *new])
    assert len(made) == 6
