"""Form fields out of a tool's JSON schema and the arguments that a model gave. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from turnkeeper_api.console.words import label_of
from turnkeeper_storage.items import Json

_SIMPLE = frozenset({"string", "integer", "number", "boolean"})
LONG = 60


@dataclass(frozen=True, slots=True)
class Field:
    """One argument as a field of a form.

    `kind`: "text", "lines", "integer", "number", "boolean", "choice" (of `choices`) or "json". `value` is
    what the field shows: a JSON text of "json", "choice" and "boolean". `is_null`: it may be, and is.
    `raw` is the JSON of what the model gave, "" where it gave nothing: browsers would round large numbers.
    """

    name: str
    label: str
    kind: str
    value: str
    description: str = ""
    choices: tuple[str, ...] = ()
    nullable: bool = False
    is_null: bool = False
    required: bool = False
    raw: str = "null"


def fields_of(schema: Json, arguments: Json) -> list[Field] | None:
    """The fields, in the order of the schema, then what the model made up; None where no form fits.

    No form fits arguments that are no JSON object.
    """
    if not isinstance(arguments, Mapping):
        return None
    known = schema.get("properties") if isinstance(schema, Mapping) else None
    properties: Mapping[str, Json] = known if isinstance(known, Mapping) else {}
    given = schema.get("required") if isinstance(schema, Mapping) else None
    required = given if isinstance(given, list) else []
    names = dict.fromkeys((*properties, *arguments))
    return [
        _field(str(name), properties.get(name), arguments.get(name), name in arguments, name in required)
        for name in names
    ]


def _field(name: str, schema: Json, value: Json, is_given: bool, is_required: bool) -> Field:
    inner: Mapping[str, Json] = schema if isinstance(schema, Mapping) else {}
    kinds, choices, nullable = _shape(inner)
    description = inner.get("description")
    kind = _kind(kinds, choices, value, is_given)
    return Field(
        name,
        label_of(name),
        kind,
        _shown(kind, value, is_given),
        description if isinstance(description, str) else "",
        tuple(json.dumps(one, ensure_ascii=False) for one in choices),
        nullable or not is_required,
        value is None,
        is_required,
        json.dumps(value) if is_given else "",
    )


def _shape(schema: Mapping[str, Json]) -> tuple[list[str], list[Json], bool]:
    """The types that a value may have besides null, its choices, and whether it may be null."""
    options = schema.get("anyOf") or schema.get("oneOf")
    parts = (
        [schema] if not isinstance(options, list) else [one for one in options if isinstance(one, Mapping)]
    )
    kinds: list[str] = []
    choices: list[Json] = []
    for part in parts:
        named = part.get("type")
        kinds += [str(one) for one in named] if isinstance(named, list) else [str(named or "any")]
        enum = part.get("enum", [part["const"]] if "const" in part else [])
        choices += enum if isinstance(enum, list) else []
    nullable = "null" in kinds or None in choices
    kinds = [kind for kind in dict.fromkeys(kinds) if kind != "null"]
    return kinds, [one for one in choices if one is not None], nullable


def _kind(kinds: list[str], choices: list[Json], value: Json, is_given: bool) -> str:
    if choices and (value in choices or value is None):
        return "choice"
    if len(kinds) != 1 or kinds[0] not in _SIMPLE or choices:
        return "json"
    kind = kinds[0]
    if value is not None and not _fits(kind, value):
        return "json"
    if kind == "string":
        text = value or ""
        return "lines" if len(text) > LONG or "\n" in text else "text"
    return kind


def _fits(kind: str, value: Json) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(kind: str, value: Json, is_given: bool) -> str:
    if value is None:
        return "null" if kind == "json" and is_given else ""
    if kind in ("text", "lines"):
        return str(value)
    indent = 2 if isinstance(value, (list, dict)) else None
    return json.dumps(value, ensure_ascii=False, indent=indent)
