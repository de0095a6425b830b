"""Edited arguments of an approval: one text for equal ones, and whether the schema allows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Json, canonical, decode, encode
from turnkeeper_storage.model import AgentRecord

if TYPE_CHECKING:
    from jsonschema import ValidationError

REMEDY = "give arguments that the tool's schema allows; `turnkeeper agents --json` shows it"


def check_edited(arguments: str, tool: str, agent: str, registered: Sequence[AgentRecord]) -> None:
    """Hold edited arguments against the tool's JSON schema, as workers registered it for this agent.

    Raises InvalidInput that names the place. Where no schema is known the worker has the last word.
    """
    schema = _schema_of(tool, agent, registered)
    if schema is None:
        return
    try:
        value = decode(arguments)
    except (ValueError, RecursionError):
        raise InvalidInput("arguments", "are no JSON", 'send an object, e.g. {"amount": 5}') from None
    fault = _first_fault(value, schema)
    if fault is not None:
        raise InvalidInput(_place(fault), _explained(fault), REMEDY)


def in_one_form(arguments: Mapping[str, Json] | str) -> str:
    """One text for equal objects, so that the same edit again is the same decision; other texts as given."""
    value: Json = arguments
    if isinstance(arguments, str):
        try:
            value = decode(arguments)
        except (ValueError, RecursionError):
            return arguments
        if not isinstance(value, dict):
            return arguments
    encode(value, field="arguments")  # whose errors name the field
    return encode(decode(canonical(value)))


def _schema_of(tool: str, agent: str, registered: Sequence[AgentRecord]) -> Mapping[str, Json] | None:
    record = next((one for one in registered if one.name == agent), None)
    for definition in record.tools if record else ():
        if definition.get("type") == "function" and definition.get("name") == tool:
            schema = definition.get("parameters")
            return schema if isinstance(schema, Mapping) else None
    return None


def _first_fault(value: Json, schema: Mapping[str, Json]) -> ValidationError | None:
    # only who edits arguments pays for the import
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        # a registry of its own, so that no reference in a schema is fetched from anywhere
        faults = Draft202012Validator(schema, registry=Registry()).iter_errors(value)
        found: ValidationError | None = best_match(faults)
        return found
    except (SchemaError, Unresolvable):
        return None  # a schema of a worker that we cannot read: the worker checks again


def _place(fault: ValidationError) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.absolute_path)
    return "arguments" + "".join(steps)


def _explained(fault: ValidationError) -> str:
    """What is wrong in the schema's words: the value is never repeated."""
    rule = str(fault.validator)
    wanted: Json = fault.validator_value
    if rule == "required" and isinstance(fault.instance, Mapping):
        missing = [str(name) for name in wanted if name not in fault.instance]
        return f"lacks {', '.join(missing)}"
    if rule == "additionalProperties":
        return "has a field that the tool does not know"
    if rule == "type":
        names = wanted if isinstance(wanted, list) else [wanted]
        return f"is {type(fault.instance).__name__}, not {' or '.join(map(str, names))}"
    return f"does not fit {rule} {encode(wanted)[:200]}"
