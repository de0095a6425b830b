"""Long histories to measure on, in the shape in which runs store them."""

from __future__ import annotations

from turnkeeper_storage.items import Item

QUESTION = "Where is parcel number {}, which I ordered a week ago and paid for at once?"
ANSWER = "Parcel number {} left the warehouse on Monday. It is on its way and should be there by Thursday."


def messages(count: int) -> list[Item]:
    """So many items: a question and its answer by turns."""
    return [_answer(place) if place % 2 else _question(place) for place in range(count)]


def exchanges(count: int, first: int = 0) -> list[Item]:
    """So many times four items: a question, a call of a tool, its output, the answer."""
    found: list[Item] = []
    for number in range(first, first + count):
        found += [_question(number), *_looked_up(number), _answer(number)]
    return found


def _question(number: int) -> Item:
    return {"type": "message", "role": "user", "content": QUESTION.format(number)}


def _answer(number: int) -> Item:
    text = {"type": "output_text", "text": ANSWER.format(number), "annotations": []}
    return {
        "type": "message",
        "id": f"msg_{number:032x}",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }


def _looked_up(number: int) -> list[Item]:
    call = {
        "type": "function_call",
        "id": f"fc_{number:032x}",
        "call_id": f"call_{number}",
        "name": "look_up",
        "arguments": f'{{"parcel":{number}}}',
        "status": "completed",
    }
    output = '{"left":"Monday","due":"Thursday","carrier":"post"}'
    return [call, {"type": "function_call_output", "call_id": f"call_{number}", "output": output}]
