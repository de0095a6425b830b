"""Functions as tools: names, signatures, arguments, definitions."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from turnkeeper_storage.errors import ConfigurationError, TurnkeeperError
from turnkeeper_storage.items import Json
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import InvalidArguments, Tool, tool


@dataclass
class Deps:
    unit: str


class Address(BaseModel):
    city: str
    country: Literal["at", "de"] = "at"


@tool
async def order_status(order_id: str) -> str:
    """Look an order up.

    It may take a while.

    Args:
        order_id: The id on
            the invoice.
    """
    return f"order {order_id}"


@tool(name="send_parcel", timeout=5, idempotent=False, on_error="fail")
def send(ctx: RunContext[Deps], to: Address, weight: float = 1.5, note: str | None = "-") -> str:
    """Send a parcel."""
    return f"{to.city} {weight} {ctx.deps.unit} {note}"


def made(source: str) -> Tool[..., object]:
    """The tool of a function given as text, so that a test can hold wrong ones."""
    scope: dict[str, Json] = {"RunContext": RunContext}
    exec(compile(source, "<test>", "exec", dont_inherit=True), scope)
    return tool(scope["f"])


def test_a_tool_is_described_by_its_docstring() -> None:
    assert order_status.definition() == {
        "type": "function",
        "name": "order_status",
        "description": "Look an order up.\n\nIt may take a while.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string", "description": "The id on the invoice."}},
            "required": ["order_id"],
            "additionalProperties": False,
        },
        "strict": True,
    }


async def test_a_tool_stays_the_function_that_it_was() -> None:
    assert await order_status("7") == "order 7"
    context = RunContext(Deps("kg"), "run_1", "s")
    assert send(context, Address(city="Wien"), weight=2) == "Wien 2 kg -"
    assert send.__doc__ == "Send a parcel."
    assert list(inspect.signature(send).parameters) == ["ctx", "to", "weight", "note"]


def test_options_are_kept_and_defaults_are_safe_ones() -> None:
    assert (send.name, send.timeout, send.idempotent, send.on_error) == ("send_parcel", 5.0, False, "fail")
    assert (order_status.timeout, order_status.idempotent, order_status.on_error) == (300.0, True, "return")
    assert order_status.is_async
    assert not send.is_async


def test_a_context_is_hidden_from_the_model() -> None:
    assert send.takes_context
    assert not order_status.takes_context
    assert list(send.schema["properties"]) == ["to", "weight", "note"]


def test_a_context_of_a_class_in_local_scope_is_found() -> None:
    class Local: ...

    @tool
    def local(ctx: RunContext[Local], size: int) -> int:
        return size

    assert local.takes_context
    assert list(local.schema["properties"]) == ["size"]


def test_an_annotation_of_the_result_need_not_exist() -> None:
    assert made("def f(a: int) -> 'Nowhere': ...").validate('{"a": 1}') == {"a": 1}


def test_every_parameter_is_required_and_a_default_makes_it_nullable() -> None:
    assert send.schema["required"] == ["to", "weight", "note"]
    assert send.schema["properties"]["weight"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}


def test_null_means_the_default_unless_the_parameter_takes_it() -> None:
    arguments = '{"to": {"city": "Wien", "country": "at"}, "weight": null, "note": null}'
    assert send.validate(arguments) == {"to": Address(city="Wien"), "note": None}


def test_an_argument_that_is_left_out_has_the_functions_default() -> None:
    assert send.validate('{"to": {"city": "Wien"}}') == {"to": Address(city="Wien")}


def test_a_required_parameter_that_takes_none_is_given_none() -> None:
    assert made("def f(a: int | None): ...").validate('{"a": null}') == {"a": None}


@pytest.mark.parametrize("empty", ["", "  ", "{}"])
def test_a_call_without_arguments_is_one_of_no_parameters(empty: str) -> None:
    assert made("def f(): ...").validate(empty) == {}


@pytest.mark.parametrize("name", ["schema", "copy", "json", "_private", "model_config", "self_", "p0"])
def test_a_parameter_may_have_any_name(name: str) -> None:
    named = made(f"def f({name}: int): ...")
    assert list(named.schema["properties"]) == [name]
    assert named.validate(f'{{"{name}": 3}}') == {name: 3}


def test_descriptions_and_limits_in_annotations_are_told_and_held() -> None:
    @tool
    def limited(count: Annotated[int, Field(ge=1, description="how many")] = 1) -> None:
        """Args:
        count: not this
        """

    assert limited.schema["properties"]["count"]["description"] == "how many"
    with pytest.raises(InvalidArguments, match="count"):
        limited.validate('{"count": 0}')


@pytest.mark.parametrize(
    "arguments", ["{", "[]", '"x"', "null", "{}", '{"order_id": 7}', '{"order_id": "7", "admin": true}']
)
def test_arguments_that_do_not_fit_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidArguments):
        order_status.validate(arguments)


def test_a_refusal_names_the_parameter_and_repeats_no_value() -> None:
    with pytest.raises(InvalidArguments) as caught:
        send.validate('{"to": {"city": "x", "country": "at"}, "weight": "hunter2", "note": null}')
    assert "weight" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f(a): ...", r"'a': has no annotation; write e.g. a: str"),
        ("def f(*a: int): ...", r"\*a; take a list"),
        ("def f(**a: int): ...", r"\*\*a; name each"),
        ("def f(a: int, /): ...", r"remove the '/'"),
        ("def f(a: 'Nowhere'): ...", r"'a': cannot resolve 'Nowhere'.*at module level"),
        ("def f(a: RunContext['Nowhere']): ...", r"'a': cannot resolve"),
        ("def f(a: 3): ...", r"'a'.*no JSON form"),
        ("def f(a: int, b: type(print)): ...", r"'b'.*no JSON form"),
        ("def f(a: int, c: RunContext): ...", r"'c': a RunContext must be the first"),
        ("def f(a: dict[str, int]): ...", r"'a': it takes free keys.*strict=False"),
        ("def f(a: dict): ...", r"'a': it takes free keys"),
        ("def f(a: list[dict[str, int]]): ...", r"'a\[\]': it takes free keys"),
        ("def f(a: object): ...", r"'a': it takes any value.*strict=False"),
        ("def f(a: tuple[int, str]): ...", r"'a': it is a tuple"),
        ("f = lambda a: a", r"'<lambda>': use 1 to 64 letters"),
        ("def f():\n    yield 1", r"is a generator"),
        ("class f: ...", r"expected a function, got type"),
        ("from pydantic import Field\ndef f(a: int = Field(default=1)): ...", r"Annotated"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_the_remedy(source: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        made(source)


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, "a.b", "name\n"])
def test_a_name_that_the_api_refuses_is_refused_here(name: str) -> None:
    with pytest.raises(ConfigurationError, match="tool name"):
        tool(name=name)(lambda: None)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "30", None])
def test_a_time_out_is_a_number_of_seconds(timeout: Json) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        tool(name="x", timeout=timeout)(lambda: None)


def test_a_tool_is_made_of_a_function_once() -> None:
    with pytest.raises(ConfigurationError, match="a tool already"):
        tool(order_status)


def test_without_strict_free_keys_pass_and_defaults_are_optional() -> None:
    @tool(strict=False)
    def free(filters: dict[str, int], limit: int = 3) -> None: ...

    assert free.definition()["strict"] is False
    assert free.schema == {
        "type": "object",
        "properties": {
            "filters": {"type": "object", "additionalProperties": {"type": "integer"}},
            "limit": {"type": "integer"},
        },
        "required": ["filters"],
        "additionalProperties": False,
    }
    assert free.validate('{"filters": {"a": 1}}') == {"filters": {"a": 1}}


def test_a_digest_changes_with_the_definition_and_the_promises() -> None:
    def f(a: int) -> None: ...

    one = tool(f)
    assert one.digest == tool(f).digest
    assert one.digest == tool(timeout=7)(f).digest
    others = [
        tool(idempotent=False)(f),
        tool(on_error="fail")(f),
        tool(description="x")(f),
        tool(name="g")(f),
    ]
    assert one.digest not in {other.digest for other in others}


def test_an_idempotency_key_stands_for_one_call() -> None:
    context = RunContext[Deps](Deps("kg"), "run_1", "s")
    assert context.for_call("call_2").idempotency_key == "run_1:call_2"
    with pytest.raises(TurnkeeperError, match="outside of a tool call"):
        _ = context.idempotency_key
