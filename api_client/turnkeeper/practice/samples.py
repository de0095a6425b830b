"""Minimal JSON that satisfies a JSON schema, with hints where a name or a kind of value suits. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from turnkeeper_storage.items import Json

Schema = Mapping[str, Json]

_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "someone@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "127.0.0.1",
    "hostname": "example.com",
}
_DEPTH = 12  # of nested schemas: a schema that calls for itself without end is cut with null


@dataclass(frozen=True, slots=True)
class Hints:
    """What a message suggests: values by property name, and texts for the properties that take any."""

    named: Mapping[str, Json] = field(default_factory=dict)
    texts: Sequence[str] = ()


def sample(schema: Schema, hints: Hints | None = None) -> Json:
    """A value for `schema`: the required properties only, nulls where allowed and nothing better is known.

    Knows `$ref` to `$defs`, `anyOf`, `oneOf`, `allOf`, `enum`, `const`, `default` and the usual bounds;
    `pattern` is not looked at.
    """
    return _Sampler(schema, hints or Hints()).value(schema, "", 0)


class _Sampler:
    def __init__(self, root: Schema, hints: Hints) -> None:
        self._root = root
        self._named = hints.named
        self._texts = list(hints.texts)

    def value(self, schema: Schema, name: str, depth: int) -> Json:
        if depth > _DEPTH:
            return None
        schema = self._resolved(schema)
        if name in self._named:
            return _cast(self._named[name], _types(schema))
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if schema.get("enum"):
            return schema["enum"][0]
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            return self._option(options, name, depth)
        return self._typed(schema, name, depth)

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(_DEPTH):
            if "$ref" in schema:
                beside = {key: inner for key, inner in schema.items() if key != "$ref"}
                schema = {**self._lookup(str(schema["$ref"])), **beside}
            elif "allOf" in schema:
                schema = _merged([*schema["allOf"], {k: v for k, v in schema.items() if k != "allOf"}])
            else:
                break
        return schema

    def _lookup(self, reference: str) -> Schema:
        found: Json = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                found = found.get(step.replace("~1", "/").replace("~0", "~"), {})
        return found if isinstance(found, Mapping) else {}

    def _option(self, options: Sequence[Schema], name: str, depth: int) -> Json:
        # Null says the least; without it the first option is as good as any.
        if any(option.get("type") == "null" for option in options):
            return None
        return self.value(options[0], name, depth + 1)

    def _typed(self, schema: Schema, name: str, depth: int) -> Json:
        kinds = _types(schema)
        if "null" in kinds:
            return None
        match kinds[0] if kinds else "null":
            case "object":
                return self._object(schema, depth)
            case "array":
                count = int(schema.get("minItems", 0))
                return [self.value(schema.get("items", {}), "", depth + 1) for _ in range(count)]
            case "string":
                return self._text(schema)
            case "boolean":
                return False
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case _:
                return None

    def _object(self, schema: Schema, depth: int) -> dict[str, Json]:
        properties: Mapping[str, Schema] = schema.get("properties") or {}
        wanted = [*schema.get("required", []), *(name for name in properties if name in self._named)]
        return {name: self.value(properties.get(name, {}), name, depth + 1) for name in dict.fromkeys(wanted)}

    def _text(self, schema: Schema) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._texts.pop(0) if self._texts else "practice"
        text = text.ljust(int(schema.get("minLength", 0)), ".")
        return text[: int(schema.get("maxLength", len(text)))]


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, list):
        return [str(one) for one in kind]
    if isinstance(kind, str):
        return [kind]
    options = schema.get("anyOf") or schema.get("oneOf") or []
    found = [str(option["type"]) for option in options if isinstance(option.get("type"), str)]
    return found or (["object"] if "properties" in schema else [])


def _cast(value: Json, kinds: Sequence[str]) -> Json:
    """A hint in the type that the schema asks for: order "7" is 7 where an integer is wanted."""
    try:
        if "string" in kinds:
            return str(value)
        if "integer" in kinds:
            return int(float(value))
        if "number" in kinds:
            return float(value)
    except (TypeError, ValueError):
        return value
    return value


def _number(schema: Schema, *, whole: bool) -> int | float:
    low = float(schema.get("minimum", schema.get("exclusiveMinimum", -math.inf)))
    high = float(schema.get("maximum", schema.get("exclusiveMaximum", math.inf)))
    step = float(schema.get("multipleOf", 1))
    tried = [0.0, low, high, (low + high) / 2]
    tried += [(number // step + more) * step for number in (low, high) for more in (0, 1, -1)]
    for number in tried:
        if math.isfinite(number) and _fits(number, schema) and (not whole or number.is_integer()):
            return int(number) if number.is_integer() else number
    return 0


def _fits(number: float, schema: Schema) -> bool:
    step = schema.get("multipleOf")
    return (
        number >= schema.get("minimum", -math.inf)
        and number <= schema.get("maximum", math.inf)
        and number > schema.get("exclusiveMinimum", -math.inf)
        and number < schema.get("exclusiveMaximum", math.inf)
        and (not step or math.isclose(number / step, round(number / step)))
    )


def _merged(parts: Sequence[Schema]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for part in parts:
        joined = {**(merged.get("properties") or {}), **(part.get("properties") or {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged |= part
        if joined:
            merged["properties"] = joined
        if required:
            merged["required"] = required
    return merged
