"""Built-in input callbacks: what they show, that they compose, and that they read no more than they need."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.worker import texts
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import SessionSettings
from turnkeeper_storage.valid_input import make_valid
from turnkeeper_worker.merge import merge
from turnkeeper_worker.windows import (
    PLACEHOLDER,
    Window,
    about_tokens,
    chain,
    drop_tool_outputs,
    last_items,
    last_turns,
    read_window,
    token_budget,
)

NEW = [user_message("new")]


def answer(text: str) -> Item:
    return {"type": "message", "role": "assistant", "content": text}


def call(name: str) -> Item:
    return {"type": "function_call", "call_id": name, "name": "look", "arguments": "{}"}


def output(name: str, text: str = "seen") -> Item:
    return {"type": "function_call_output", "call_id": name, "output": text}


def turn(number: int) -> list[Item]:
    """A question, a look-up and an answer."""
    name = f"c{number}"
    return [user_message(f"q{number}"), call(name), output(name, f"o{number}"), answer(f"a{number}")]


HISTORY = [item for number in range(1, 5) for item in turn(number)]


async def shown(callback: Any, history: list[Item] = HISTORY) -> list[str]:
    """What the model is shown of the history, and then NEW."""
    merged = await merge(copy.deepcopy(history), NEW, callback)
    assert merged.stored_input == NEW  # whatever is shown, stored is what is new
    return texts(make_valid(merged.model_input))


async def test_the_last_items_are_shown() -> None:
    assert await shown(last_items(2)) == ["= o4", "a4", "new"][1:]
    assert await shown(last_items(3)) == ["look({})", "= o4", "a4", "new"]
    assert await shown(last_items(0)) == ["new"]
    assert len(await shown(last_items(99))) == len(HISTORY) + 1


async def test_the_last_turns_are_shown_whole() -> None:
    assert await shown(last_turns(1)) == ["q4", "look({})", "= o4", "a4", "new"]
    assert (await shown(last_turns(2)))[0] == "q3"
    assert len(await shown(last_turns(9))) == len(HISTORY) + 1
    assert await shown(last_turns(1), [answer("nobody asked")]) == ["nobody asked", "new"]


async def test_a_budget_of_tokens_is_kept_with_the_new_items_in_it() -> None:
    def one(item: Item) -> int:
        return 1

    assert await shown(token_budget(5, one)) == ["q4", "look({})", "= o4", "a4", "new"]
    assert await shown(token_budget(2, one)) == ["a4", "new"]
    assert await shown(token_budget(1, one)) == ["new"]
    long = [user_message("x" * 4_000), answer("short")]
    assert await shown(token_budget(200), long) == ["short", "new"]


def test_tokens_are_counted_by_the_length_of_the_json() -> None:
    assert about_tokens(user_message("")) == len('{"type":"message","role":"user","content":""}') // 4 + 4
    assert about_tokens(user_message("x" * 400)) - about_tokens(user_message("")) == 100


async def test_outputs_of_older_turns_become_short_and_stay_with_their_calls() -> None:
    outputs = [text for text in await shown(drop_tool_outputs(older_than_turns=1)) if text.startswith("=")]
    assert outputs == [f"= {PLACEHOLDER}"] * 3 + ["= o4"]
    every = await shown(drop_tool_outputs(older_than_turns=0, placeholder="gone"))
    assert [text for text in every if text.startswith("=")] == ["= gone"] * 4
    few = await shown(drop_tool_outputs(older_than_turns=9))
    assert [text for text in few if text.startswith("=")] == ["= o1", "= o2", "= o3", "= o4"]


async def test_windows_compose() -> None:
    both = chain(drop_tool_outputs(older_than_turns=1), last_turns(2))
    assert await shown(both) == [
        "q3",
        "look({})",
        f"= {PLACEHOLDER}",
        "a3",
        "q4",
        "look({})",
        "= o4",
        "a4",
        "new",
    ]
    assert isinstance(both, Window)
    assert await shown(chain(last_turns(3), last_items(1))) == ["a4", "new"]


async def test_functions_of_ones_own_compose_with_them_sync_and_async() -> None:
    def shout(history: list[Item], new_items: list[Item]) -> list[Item]:
        for item in history:
            if item.get("role") == "assistant":
                item["content"] = item["content"].upper()
        return history + new_items

    async def with_note(history: list[Item], new_items: list[Item]) -> list[Item]:
        return [*history[1:], *new_items]

    mixed = chain(last_turns(1), shout, with_note)
    assert not isinstance(mixed, Window)
    assert await shown(mixed) == ["look({})", "= o4", "A4", "new"]
    assert await shown(chain(shout, last_items(1))) == ["A4", "new"]


async def test_what_a_function_in_a_chain_makes_or_drops_is_stored_or_not_as_alone() -> None:
    note = user_message("a note")

    def add_note(history: list[Item], new_items: list[Item]) -> list[Item]:
        return [*history, note, *new_items]

    def drop_new(history: list[Item], new_items: list[Item]) -> list[Item]:
        return history

    merged = await merge(HISTORY, NEW, chain(add_note, last_turns(2)))
    assert merged.stored_input == [note, *NEW]
    merged = await merge(HISTORY, NEW, chain(drop_new, last_items(1)))
    assert (merged.stored_input, texts(merged.model_input)) == ([], ["a4"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: last_items(-1), "last_items: -1"),
        (lambda: last_items(True), "last_items: True"),
        (lambda: last_turns(0), "last_turns: 0"),
        (lambda: token_budget(0), "token_budget: 0"),
        (lambda: token_budget(5, 7), "token_budget, count: int"),  # type: ignore[arg-type]
        (lambda: drop_tool_outputs(older_than_turns=-1), "older_than_turns: -1"),
        (lambda: drop_tool_outputs(older_than_turns=1, placeholder=None), "placeholder"),  # type: ignore[arg-type]
        (chain, "chain: give it callbacks"),
        (lambda: chain(7), "chain: give it callbacks"),  # type: ignore[arg-type]
    ],
)
def test_what_no_window_can_be_is_told(make: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make()


WINDOWS = st.one_of(
    st.integers(0, 12).map(last_items),
    st.integers(1, 4).map(last_turns),
    st.integers(1, 300).map(token_budget),
)
CHAINS = st.one_of(
    WINDOWS,
    st.lists(
        st.one_of(WINDOWS, st.integers(0, 3).map(lambda k: drop_tool_outputs(older_than_turns=k))),
        min_size=1,
        max_size=3,
    ).map(lambda windows: chain(*windows)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Item]:
    made: list[Item] = []
    for number in range(draw(st.integers(0, 12))):
        made += draw(
            st.sampled_from(
                [
                    turn(number),
                    [user_message(f"q{number}")],
                    [answer(f"a{number}")],
                    [call(f"c{number}"), call(f"d{number}"), output(f"c{number}"), output(f"d{number}")],
                    [
                        {"type": "reasoning", "id": f"r{number}", "summary": []},
                        call(f"c{number}"),
                        output(f"c{number}"),
                    ],
                    [{"type": "reasoning", "id": f"r{number}", "summary": []}, answer("x"), answer("y")],
                ]
            )
        )
    return made


@given(histories(), CHAINS, st.integers(1, 8))
async def test_an_end_that_is_enough_shows_what_the_whole_history_would(
    history: list[Item], wanted: Any, first: int
) -> None:
    session = MemorySession("s")
    await session.add_items(history)
    size, read = first, history
    while size < len(history):  # from the smallest end on
        read = await session.get_items(limit=size)
        if wanted.enough(read):
            break
        size += 1
    else:
        read = await session.get_items()
    part = await merge(read, NEW, wanted)
    whole = await merge(history, NEW, wanted)
    assert make_valid(part.model_input) == make_valid(whole.model_input)
    assert part.stored_input == whole.stored_input


class Counting(MemorySession):
    """Notes how many items each read gave."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__("s", session_settings=SessionSettings(limit=limit))
        self.read: list[int] = []

    async def get_items(self, limit: int | None = None) -> list[Item]:
        found = await super().get_items(limit)
        self.read.append(len(found))
        return found


@pytest.mark.parametrize(
    ("wanted", "most"),
    [
        (last_items(50), 66),
        (last_turns(3), 34),
        (chain(drop_tool_outputs(older_than_turns=2), last_items(20)), 36),
        (chain(last_turns(2), token_budget(100_000)), 64),
    ],
)
async def test_of_a_long_history_only_the_end_is_read(wanted: Any, most: int) -> None:
    session = Counting()
    await session.add_items([item for number in range(1_250) for item in turn(number)])
    session.read.clear()
    await read_window(session, wanted)
    assert sum(session.read) <= most


async def test_a_window_reads_on_until_it_has_enough_or_there_is_no_more() -> None:
    session = Counting()
    await session.add_items([user_message("q"), *[answer(str(n)) for n in range(200)]])
    session.read.clear()
    found = await read_window(session, last_turns(1))
    assert len(found) == 201
    assert session.read == [22, 44, 88, 176, 201]


async def test_the_settings_of_a_session_bound_a_window_too() -> None:
    session = Counting(limit=3)
    await session.add_items([item for number in range(50) for item in turn(number)])
    assert len(await read_window(session, last_items(10))) == 3
