"""Tools: functions that a model may call.

@tool
async def order_status(order_id: str) -> str:
    \"\"\"Look an order up.\"\"\"
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import WRAPPER_ASSIGNMENTS, cached_property
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Json, digest
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.signature import Parameter, Signature, read_signature
from turnkeeper_worker.tool_schema import plain_schema, strict_schema

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
F_R = TypeVar("F_R")

OnError: TypeAlias = Literal["return", "fail"]
# Any: a function that wants RunContext[Deps] takes no RunContext[object].
Gate: TypeAlias = Callable[[RunContext[Any], dict[str, Any]], bool | Awaitable[bool]]
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DEFAULT_TIMEOUT = 300.0


class InvalidArguments(Exception):
    """The model's arguments do not fit; the text is for the model and repeats no value."""


# Tools compare by identity: two of the same definition may hold different functions.
@dataclass(frozen=True, eq=False)
class Tool(Generic[P, R]):
    """A function with what a model is told of it; called, it is the function itself.

    `schema` is the JSON schema of its parameters, `timeout` in seconds. `idempotent=False` says that the
    effect must not happen twice. `on_error="fail"` ends the run instead of telling the model.
    `needs_approval`: whether a person must consent before a call runs, or a function that says so for a call;
    `approval_timeout`: seconds until nobody's decision is a rejection, None for the setting's.
    """

    name: str
    description: str
    schema: dict[str, Json]
    function: Callable[P, R]
    timeout: float = DEFAULT_TIMEOUT
    idempotent: bool = True
    on_error: OnError = "return"
    strict: bool = True
    is_async: bool = False
    takes_context: bool = False
    needs_approval: bool | Gate = False
    approval_timeout: float | None = None
    arguments: type[BaseModel] = field(default=BaseModel, repr=False)
    parameters: tuple[Parameter, ...] = field(default=(), repr=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def definition(self) -> dict[str, Json]:
        """The tool as the Responses API takes it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": self.strict,
        }

    @cached_property
    def digest(self) -> str:
        """Changes with what the tool means for a run that waits: its definition and its promises."""
        gate = [named(self.needs_approval)] if self.is_gated else []
        return digest([self.definition(), self.idempotent, self.on_error, *gate])

    @property
    def is_gated(self) -> bool:
        """Whether a call may have to wait for a person."""
        return self.needs_approval is not False

    def validate(self, arguments: str) -> dict[str, object]:
        """The keyword arguments out of a call's JSON text. Raises InvalidArguments."""
        try:
            values = self.arguments.model_validate_json(arguments.strip() or "{}")
        except ValidationError as error:
            raise InvalidArguments(_explain(error)) from None
        bound: dict[str, object] = {}
        for index, parameter in enumerate(self.parameters):
            name = _field_name(index)
            value = getattr(values, name)
            # Null stands for "not given" where strict mode makes the model name every parameter.
            by_default = value is None and not parameter.accepts_none
            if name in values.model_fields_set and not by_default:
                bound[parameter.name] = value
        return bound


# What the rest of the worker handles: any signature, any result.
AnyTool: TypeAlias = Tool[..., object]


@overload
def tool(function: Callable[P, F_R], /) -> Tool[P, F_R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    idempotent: bool | None = None,
    on_error: OnError = "return",
    strict: bool = True,
    needs_approval: bool | Gate = False,
    approval_timeout: float | None = None,
) -> Callable[[Callable[P, F_R]], Tool[P, F_R]]: ...


def tool(
    function: Callable[P, F_R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    idempotent: bool | None = None,
    on_error: OnError = "return",
    strict: bool = True,
    needs_approval: bool | Gate = False,
    approval_timeout: float | None = None,
) -> Tool[P, F_R] | Callable[[Callable[P, F_R]], Tool[P, F_R]]:
    """Make a tool of a function, sync or async: `@tool` or `@tool(timeout=30)`.

    A first parameter annotated RunContext is given by the worker and hidden from the model. The description
    and those of the parameters come from the docstring (Google style).

    `needs_approval`: True, or a function of (ctx, arguments), sync or async, that returns False for a call
    that may run at once; anything else it returns or raises makes the call wait for a person. A tool that can
    need approval is `idempotent=False` unless told otherwise. Raises ConfigurationError.
    """
    # Annotations that are texts may name things of the function around: seen from its frame only.
    namespace = dict(sys._getframe(1).f_locals)

    def make(decorated: Callable[P, F_R]) -> Tool[P, F_R]:
        chosen = _checked_name(decorated, name)
        _check_options(chosen, timeout, on_error)
        _check_gate(chosen, needs_approval, approval_timeout)
        signature = read_signature(decorated, chosen, namespace)
        arguments = _arguments_model(chosen, signature, strict)
        made = Tool(
            name=chosen,
            description=signature.description if description is None else description,
            schema=_schema(chosen, arguments, strict),
            function=decorated,
            timeout=float(timeout),
            idempotent=needs_approval is False if idempotent is None else idempotent,
            on_error=on_error,
            strict=strict,
            needs_approval=needs_approval,
            approval_timeout=None if approval_timeout is None else float(approval_timeout),
            is_async=inspect.iscoroutinefunction(decorated),
            takes_context=signature.takes_context,
            arguments=arguments,
            parameters=signature.parameters,
        )
        # For help() and for readers of signatures; past the frozen __setattr__.
        vars(made).update({mark: getattr(decorated, mark, None) for mark in WRAPPER_ASSIGNMENTS})
        vars(made)["__wrapped__"] = decorated
        return made

    return make if function is None else make(function)


def _checked_name(function: Callable[..., object], name: str | None) -> str:
    if isinstance(function, Tool):
        raise ConfigurationError(f"tool {function.name!r} is a tool already; decorate a function once")
    if not inspect.isroutine(function):
        raise ConfigurationError(f"tool: expected a function, got {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"tool {function.__name__!r} is a generator; return a list instead")
    chosen = function.__name__ if name is None else name
    if not _is_name(chosen):
        raise ConfigurationError(
            f"tool name {chosen!r}: use 1 to 64 letters, digits, '_' and '-'; pass @tool(name=…)"
        )
    return chosen


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _check_options(name: str, timeout: object, on_error: object) -> None:
    if not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise ConfigurationError(f"tool {name!r}, timeout {timeout!r}: use a number of seconds above 0")
    if on_error not in ("return", "fail"):
        raise ConfigurationError(f"tool {name!r}, on_error {on_error!r}: use 'return' or 'fail'")


def _check_gate(name: str, needs_approval: object, approval_timeout: float | None) -> None:
    if not isinstance(needs_approval, bool) and not callable(needs_approval):
        raise ConfigurationError(
            f"tool {name!r}, needs_approval {needs_approval!r}: use True, False or a function of "
            "(ctx, arguments)"
        )
    if approval_timeout is None:
        return
    if type(approval_timeout) not in (int, float) or not 0 < approval_timeout < float("inf"):
        raise ConfigurationError(
            f"tool {name!r}, approval_timeout {approval_timeout!r}: use a number of seconds above 0, or None"
        )


def named(value: object) -> object:
    """A function by its place in the code, anything else as it is: for digests, the same in every process."""
    if not callable(value):
        return value
    # A partial or an object has no name of its own: that of its type, never a repr with an address in it.
    function = value if hasattr(value, "__qualname__") else type(value)
    return f"{function.__module__}:{function.__qualname__}"


def _arguments_model(tool_name: str, signature: Signature, strict: bool) -> type[BaseModel]:
    # Fields get names of our own and the parameters' as aliases, or `schema`, `copy` and `_x` would clash.
    fields: dict[str, Any] = {
        _field_name(index): _field(parameter, strict) for index, parameter in enumerate(signature.parameters)
    }
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError:
        raise _unsupported(tool_name, signature) from None


def _field(parameter: Parameter, strict: bool) -> tuple[object, object]:
    hint: Any = parameter.hint
    if parameter.required:
        return hint, Field(alias=parameter.name, description=parameter.description)
    if strict and not parameter.accepts_none:
        hint = hint | None
    return hint, Field(default=None, alias=parameter.name, description=parameter.description)


def _unsupported(tool_name: str, signature: Signature) -> ConfigurationError:
    for parameter in signature.parameters:
        hint: Any = parameter.hint
        try:
            TypeAdapter(hint).json_schema()
        except PydanticUserError as error:
            why = error.message.partition("\n")[0]
            return ConfigurationError(
                f"tool {tool_name!r}, parameter {parameter.name!r}: {hint!r} has no JSON form: {why}"
            )
    return ConfigurationError(f"tool {tool_name!r}: its parameters have no JSON form")


def _schema(name: str, arguments: type[BaseModel], strict: bool) -> dict[str, Json]:
    raw = arguments.model_json_schema(by_alias=True)
    if not strict:
        for field_schema in raw["properties"].values():
            field_schema.pop("default", None)  # ours, not the function's
        return plain_schema(raw)
    return strict_schema(
        raw, where=f"tool {name!r}, parameter", remedy="name its fields in a BaseModel, or use strict=False"
    )


def _field_name(index: int) -> str:
    return f"p{index}"


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [".".join(str(part) for part in fault["loc"]) + ": " + fault["msg"] for fault in faults[:10]]
    return "; ".join(line.removeprefix(": ") for line in lines)


def by_name(tools: tuple[AnyTool, ...], *, agent: str) -> Mapping[str, AnyTool]:
    """The tools by their names. Raises ConfigurationError for two of one name and for what is no tool."""
    found: dict[str, AnyTool] = {}
    for entry in tools:
        if not isinstance(entry, Tool):
            raise ConfigurationError(
                f"agent {agent!r}, tools: {entry!r} is no tool; put @tool over the function"
            )
        if entry.name in found:
            raise ConfigurationError(
                f"agent {agent!r} has two tools named {entry.name!r}; rename one with @tool(name=…)"
            )
        found[entry.name] = entry
    return found
