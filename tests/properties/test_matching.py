"""What was given to a service is known again in the form that it keeps, and only that."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import conversation_forms as forms
from turnkeeper_storage.items import Item
from turnkeeper_storage.matching import count_standing, is_same_item
from turnkeeper_storage.sessions.conversation_items import as_read, as_sent

# few, so that items repeat
WORDS = st.sampled_from(["", "a", "b"])
TEXTS = st.builds(lambda kind, text: {"type": kind, "text": text}, st.just("input_text"), WORDS)
PARTS = st.lists(TEXTS, min_size=1, max_size=2)
SAID = st.fixed_dictionaries(
    {"role": st.just("user"), "content": WORDS | PARTS}, optional={"type": st.just("message")}
)
ANSWERED = st.fixed_dictionaries(
    {"type": st.just("message"), "role": st.just("assistant"), "content": WORDS},
    optional={"id": st.sampled_from(["msg_1", "chatcmpl-1"]), "status": st.just("completed")},
)
CALLED = st.builds(
    lambda call_id, word: {
        "type": "function_call",
        "call_id": call_id,
        "name": "f",
        "arguments": json.dumps({"x": word}),
    },
    WORDS,
    WORDS,
)
PUT_OUT = st.builds(
    lambda call_id, output: {"type": "function_call_output", "call_id": call_id, "output": output},
    WORDS,
    WORDS | PARTS,
)
THOUGHT = st.fixed_dictionaries(
    {"type": st.just("reasoning"), "summary": st.just([])},
    optional={"id": st.sampled_from(["rs_1", "rs_2"]), "encrypted_content": WORDS},
)
ITEMS = SAID | ANSWERED | CALLED | PUT_OUT | THOUGHT


def through_the_service(items: list[Item]) -> list[Item]:
    """What a session reads of these, after they were added."""
    sent = [one for item in items if (one := as_sent(item)) is not None]
    forms.check(sent)
    include = {"reasoning.encrypted_content"}
    kept = [forms.listed(forms.kept(item, number), include) for number, item in enumerate(sent)]
    return [as_read(entry) or {} for entry in kept]


@given(st.lists(ITEMS, max_size=8), st.integers(0, 8))
def test_what_stands_is_counted_whatever_was_cut_off(planned: list[Item], cut: int) -> None:
    shown = through_the_service(planned[:cut])
    standing = count_standing(planned, shown)

    assert standing is not None
    # what the service keeps of the beginning stands, and the rest is not there yet
    assert through_the_service(planned[:standing]) == shown
    assert count_standing(planned, through_the_service(planned)) is not None


@given(ITEMS)
def test_an_item_reads_the_same_once_it_was_added_again(item: Item) -> None:
    for read in through_the_service([item]):
        assert is_same_item(item, read)
        assert through_the_service([read]) == [read]
