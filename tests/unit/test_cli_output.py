"""What the command line writes: items in words, nothing that drives the terminal."""

from __future__ import annotations

import pytest

from turnkeeper.cli import output
from turnkeeper_storage.items import Item


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"role": "user", "content": "Hello"}, "user: Hello"),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
            "assistant: Hi",
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "u"}]},
            'user: [{"type": "input_image"',
        ),
        (
            {"type": "function_call", "name": "f", "arguments": '{"a": 1}', "call_id": "c"},
            'call f({"a": 1}) [c]',
        ),
        ({"type": "custom_tool_call", "name": "f", "input": "text", "call_id": "c"}, "call f(text) [c]"),
        ({"type": "function_call_output", "call_id": "c", "output": "done"}, "output: done [c]"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"a": 1}]}, 'output: [{"a": 1}] [c]'),
        ({"type": "reasoning", "summary": [{"text": "Thinking"}]}, "reasoning: Thinking"),
        ({"type": "reasoning", "encrypted_content": "…"}, "reasoning: (hidden)"),
        ({"type": "item_reference", "id": "i"}, 'item_reference: {"id": "i"}'),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_an_item_is_told_in_words(item: Item, words: str) -> None:
    assert output.describe_item(item).startswith(words)


def test_a_long_value_is_cut() -> None:
    assert len(output.describe_item({"type": "new_kind", "data": "x" * 10_000})) < 300


def test_what_drives_a_terminal_is_left_out() -> None:
    assert output.clean("a\x1b[31mb\x07\x9b2Jc\tok\n") == "a[31mb2Jc\tok\n"


def test_markup_and_lone_surrogates_come_out_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(("ONE",), [("[bold]x[/bold] \ud800",)])
    output.write("\ud800")
    output.write_json({"a": "\ud800 ä"})
    told = capsys.readouterr().out
    assert "[bold]x[/bold] \\ud800" in told
    assert '"a": "\\ud800 ä"' in told


def test_a_table_that_goes_into_a_pipe_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(("RUN", "SESSION"), [("r" * 46, "s" * 100)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "r" * 46 in lines[1]
    assert "s" * 100 in lines[1]
    assert "\x1b" not in lines[1]
