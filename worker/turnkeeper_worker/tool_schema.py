"""JSON schemas in the strict form that the Responses API takes, out of pydantic's.

Strict: every object closed, every property required, no keyword that constrained decoding lacks. What is
dropped here (lengths, uniqueness) is still checked when the arguments come in.
"""

from __future__ import annotations

from collections.abc import Mapping

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Json

Schema = dict[str, Json]

_NOISE = frozenset({"title", "default", "examples", "discriminator", "deprecated", "readOnly", "writeOnly"})
_UNSUPPORTED = frozenset({"minLength", "maxLength", "uniqueItems", "contentMediaType", "contentEncoding"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_REMEDY = "name its fields in a BaseModel, dataclass or TypedDict"


def strict_schema(schema: Mapping[str, Json], *, where: str, remedy: str = _REMEDY) -> Schema:
    """The strict form of an object's schema, as a new dict.

    `where` names the schema in errors. Raises ConfigurationError for a part that strict mode has no form for,
    naming the property and `remedy`.
    """
    return _Strict(schema.get("$defs", {}), where, remedy).convert(schema, ())


def plain_schema(schema: Mapping[str, Json]) -> Schema:
    """The schema without the titles that pydantic makes of names: they tell a model nothing."""
    plain: Schema = _without_titles(schema)
    return plain


class _Strict:
    """One conversion: the definitions it looks refs up in, and what to say in an error."""

    def __init__(self, definitions: Mapping[str, Json], where: str, remedy: str) -> None:
        self._definitions = definitions
        self._where = where
        self._remedy = remedy

    def convert(self, schema: Json, path: tuple[str, ...], inlined: frozenset[str] = frozenset()) -> Schema:
        if not isinstance(schema, dict) or not schema:
            raise self._error(path, "it takes any value")
        if "$ref" in schema:
            return self._reference(schema, path, inlined)
        if set(schema) - {"allOf", "title", "default", "description"} == set() and "allOf" in schema:
            return self._only_part(schema, path, inlined)
        known = {name: value for name, value in schema.items() if self._keeps(name, value)}
        result: Schema = {name: value for name, value in known.items() if name not in _HANDLED}
        if "properties" in known or known.get("type") == "object":
            self._check_closed(schema, path)
            result |= self._object(known, path, inlined)
        if known.get("type") == "array":
            result["items"] = self._items(schema, path, inlined)
        variants = known.get("anyOf") or known.get("oneOf")
        if variants:
            result["anyOf"] = [self.convert(variant, path, inlined) for variant in variants]
        elif not known.keys() & {"type", "enum", "const", "properties"}:
            raise self._error(path, "it takes any value")
        if "$defs" in known:
            result["$defs"] = {
                name: self.convert(definition, (name,), inlined)
                for name, definition in known["$defs"].items()
            }
        return result

    def _object(self, schema: Schema, path: tuple[str, ...], inlined: frozenset[str]) -> Schema:
        properties = {
            name: self.convert(value, (*path, name), inlined)
            for name, value in schema.get("properties", {}).items()
        }
        return {"properties": properties, "required": list(properties), "additionalProperties": False}

    def _check_closed(self, schema: Schema, path: tuple[str, ...]) -> None:
        free = schema.get("additionalProperties", "properties" not in schema and path != ())
        if free is not False or "patternProperties" in schema:
            raise self._error(path, "it takes free keys")

    def _items(self, schema: Schema, path: tuple[str, ...], inlined: frozenset[str]) -> Schema:
        if "prefixItems" in schema:
            raise self._error(path, "it is a tuple of fixed places")
        return self.convert(schema.get("items"), (*path, "[]"), inlined)

    def _only_part(self, schema: Schema, path: tuple[str, ...], inlined: frozenset[str]) -> Schema:
        if len(schema["allOf"]) != 1:
            raise self._error(path, "it must fit several schemas at once")
        rest = {name: value for name, value in schema.items() if name != "allOf"}
        return self.convert({**schema["allOf"][0], **rest}, path, inlined)

    def _reference(self, schema: Schema, path: tuple[str, ...], inlined: frozenset[str]) -> Schema:
        # A $ref may have no siblings: with some, the definition is put in its place, but once only, or a type
        # that holds itself would never end.
        target = str(schema["$ref"])
        siblings = {name: value for name, value in schema.items() if name != "$ref" and name not in _NOISE}
        name = target.removeprefix("#/$defs/")
        if target in inlined or name not in self._definitions:
            return {"$ref": target}
        if not siblings:
            self.convert(self._definitions[name], path, inlined | {target})  # a fault is named by its use
            return {"$ref": target}
        return self.convert({**self._definitions[name], **siblings}, path, inlined | {target})

    def _keeps(self, name: str, value: Json) -> bool:
        if name == "format":
            return value in _FORMATS
        if name == "pattern":  # groups that look around are beyond constrained decoding
            return "(?" not in str(value)
        return name not in _NOISE and name not in _UNSUPPORTED

    def _error(self, path: tuple[str, ...], what: str) -> ConfigurationError:
        name = ".".join(path).replace(".[]", "[]")
        place = f"{self._where} {name!r}" if name else self._where
        return ConfigurationError(f"{place}: {what}, which a strict schema cannot say; {self._remedy}")


_HANDLED = frozenset(
    {
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "items",
        "prefixItems",
        "anyOf",
        "oneOf",
        "allOf",
        "$defs",
    }
)


def _without_titles(schema: Json) -> Json:
    if isinstance(schema, list):
        return [_without_titles(entry) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    result: Schema = {}
    for name, value in schema.items():
        if name in ("properties", "$defs"):  # here a "title" is a name of the user's
            result[name] = {key: _without_titles(inner) for key, inner in value.items()}
        elif name in ("default", "const", "enum", "examples"):
            result[name] = value
        elif name != "title":
            result[name] = _without_titles(value)
    return result
