"""A function's signature and docstring, read as a tool: its parameters, their types and descriptions."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from griffe import Docstring, DocstringParameter
from pydantic.fields import FieldInfo

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_worker.context import RunContext

_REMEDIES = {
    inspect.Parameter.VAR_POSITIONAL: "a model cannot fill *{name}; take a list instead",
    inspect.Parameter.VAR_KEYWORD: "a model cannot fill **{name}; name each parameter",
    inspect.Parameter.POSITIONAL_ONLY: "{name} is positional-only; remove the '/' after it",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that the model fills. `hint` is its resolved type."""

    name: str
    hint: object
    required: bool
    description: str | None
    accepts_none: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """A function as a tool; `takes_context` says that its first parameter is a RunContext."""

    description: str
    parameters: tuple[Parameter, ...]
    takes_context: bool


def read_signature(function: Callable[..., object], tool: str, namespace: Mapping[str, object]) -> Signature:
    """Read `function`; `namespace` has the local names around it, for annotations that are texts.

    Raises ConfigurationError naming the tool, the parameter and the remedy.
    """
    try:
        given = list(inspect.signature(function).parameters.values())
    except NameError as error:  # Python 3.14 evaluates annotations here
        raise ConfigurationError(f"tool {tool!r}: cannot resolve an annotation: {error}") from None
    text, described = _docstring(function)
    takes_context = False
    parameters = []
    for index, parameter in enumerate(given):
        hint = _hint(function, parameter, tool, namespace)
        if _is_context(hint):
            if index:
                raise _error(tool, parameter.name, "a RunContext must be the first parameter")
            takes_context = True
            continue
        parameters.append(_parameter(parameter, hint, described.get(parameter.name), tool))
    return Signature(text, tuple(parameters), takes_context)


def _parameter(parameter: inspect.Parameter, hint: object, described: str | None, tool: str) -> Parameter:
    if parameter.kind in _REMEDIES:
        raise _error(tool, parameter.name, _REMEDIES[parameter.kind].format(name=parameter.name))
    if isinstance(parameter.default, FieldInfo):
        raise _error(tool, parameter.name, "put the Field in Annotated[…, Field(…)], not in the default")
    return Parameter(
        name=parameter.name,
        hint=hint,
        required=parameter.default is inspect.Parameter.empty,
        description=_annotated_description(hint) or described,
        accepts_none=_accepts_none(hint),
    )


def _hint(
    function: Callable[..., object], parameter: inspect.Parameter, tool: str, namespace: Mapping[str, object]
) -> object:
    if parameter.annotation is inspect.Parameter.empty:
        if parameter.kind in _REMEDIES:
            return None  # the kind is the first thing to mend
        raise _error(tool, parameter.name, f"has no annotation; write e.g. {parameter.name}: str")
    # One at a time: an annotation that is not needed (the return's) may be unresolvable.
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return get_type_hints(holder, scope, dict(namespace), include_extras=True)[parameter.name]
    except NameError as error:
        raise _error(
            tool,
            parameter.name,
            f"cannot resolve {parameter.annotation!r} ({error}); import it at module level, at run time",
        ) from None
    except (TypeError, SyntaxError, AttributeError):
        raise _error(tool, parameter.name, f"{parameter.annotation!r} is no type") from None


def _is_context(hint: object) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        return _is_context(get_args(hint)[0])
    return (origin or hint) is RunContext


def _accepts_none(hint: object) -> bool:
    if get_origin(hint) is Annotated:
        return _accepts_none(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return any(_accepts_none(part) for part in get_args(hint))
    return hint in (None, type(None), Any, object)


def _annotated_description(hint: object) -> str | None:
    if get_origin(hint) is not Annotated:
        return None
    texts = (note.description for note in get_args(hint)[1:] if isinstance(note, FieldInfo))
    return next((text for text in texts if text), None)


def _docstring(function: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """The text of a docstring and the descriptions of its parameters, in Google style."""
    text = inspect.getdoc(inspect.unwrap(function)) or ""
    texts: list[str] = []
    described: dict[str, str] = {}
    for section in Docstring(text).parse("google", warnings=False) if text else []:
        if section.kind.value == "text":
            texts.append(str(section.value))
        elif section.kind.value in ("parameters", "other parameters"):
            described |= {
                entry.name: " ".join(entry.description.split())
                for entry in section.value
                if isinstance(entry, DocstringParameter)
            }
    return "\n\n".join(texts).strip(), described


def _error(tool: str, parameter: str, text: str) -> ConfigurationError:
    return ConfigurationError(f"tool {tool!r}, parameter {parameter!r}: {text}")
