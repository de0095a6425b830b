"""How the demo puts the pieces of a streamed answer together."""

from __future__ import annotations

from turnkeeper.demo.listening import Listener
from turnkeeper_client.events import RunEvent
from turnkeeper_storage.items import Json


def event(kind: str, **data: Json) -> RunEvent:
    return RunEvent("1", 1, kind, data, "run")


def text(piece: str, index: int = 0) -> RunEvent:
    return event("delta.text", text=piece, index=index)


def listened(*events: RunEvent) -> Listener:
    listener = Listener("run", since=10.0)
    for second, one in enumerate(events, 11):
        listener.hear(one, float(second))
    return listener


def test_pieces_are_counted_and_timed_from_the_question() -> None:
    heard = listened(text("a "), text("b"), event("turn.finished", turn=1), event("run.completed")).heard()
    assert heard.pieces == ("a ", "b")
    assert heard.by_turn == ((1, 2),)
    assert (heard.first_after, heard.ended_after) == (1.0, 4.0)


def test_pieces_of_a_turn_that_is_asked_again_are_discarded() -> None:
    heard = listened(
        text("a "), event("turn.restarted", turn=1), text("b"), event("turn.finished", turn=1)
    ).heard()
    assert heard.pieces == ("b",)
    assert heard.by_turn == ((1, 1),)


def test_the_answer_is_the_last_message_of_the_last_turn() -> None:
    heard = listened(
        text("let me look"),
        event("delta.arguments", text="{}", index=1),
        event("turn.finished", turn=1),
        text("thinking aloud"),
        text("found", index=1),
        event("turn.finished", turn=2),
    ).heard()
    assert heard.pieces == ("found",)
    assert heard.by_turn == ((1, 2), (2, 2))


def test_what_was_lost_is_counted_and_only_text_is_shown() -> None:
    listener = Listener("run", since=0.0)
    assert listener.hear(event("gap", missed=3), 1.0) == ""
    assert listener.hear(event("delta.reasoning", text="hm", index=0), 2.0) == ""
    assert listener.hear(text("a"), 3.0) == "a"
    assert listener.heard().missed == 3


def test_without_a_piece_there_is_no_first_one() -> None:
    assert listened(event("run.completed")).heard().first_after is None
