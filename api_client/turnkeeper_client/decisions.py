"""What callers hand in to decide an approval, checked at the edge. Pure: no database, no loop.

Every error names the field, describes the value without its content, and says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from turnkeeper_storage import ids
from turnkeeper_storage.admission import check_flag
from turnkeeper_storage.approvals import IN_DOUBT_KINDS, Decision, DecisionKind, check_decision
from turnkeeper_storage.errors import InputTooLarge, InvalidInput, NotFound
from turnkeeper_storage.items import Item, Json, as_items, canonical, decode, encode
from turnkeeper_storage.model import AgentRecord, ApprovalStatus

if TYPE_CHECKING:
    from jsonschema import ValidationError

REMEDY = "give arguments that the tool's schema allows; `turnkeeper agents --json` shows it"


def approval_key(approval_id: str, *, field: str = "approval_id") -> str:
    """The session key inside an approval's id. Raises NotFound for a text that is none, else InvalidInput."""
    if not isinstance(approval_id, str):
        raise InvalidInput(field, f"is {type(approval_id).__name__}", "use the text in `.id` of an approval")
    return ids.key_of(approval_id, kind="approval")


def check_approval_cursor(value: str | None) -> str | None:
    """A cursor as a page of approvals gave it."""
    if value is None:
        return None
    try:
        approval_key(value, field="cursor")
    except NotFound:
        raise InvalidInput(
            "cursor", "is no cursor of a page of approvals", "pass next_cursor as given"
        ) from None
    return value


def check_approval_status(value: ApprovalStatus | str | None) -> ApprovalStatus | None:
    """An approval's status by its name; None for any."""
    if value is None:
        return None
    try:
        return ApprovalStatus(value)
    except ValueError:
        known = ", ".join(status.value for status in ApprovalStatus)
        raise InvalidInput(
            "status", f"{str(value)[:64]!r} is none", f"use one of: {known}; or None for all"
        ) from None


def approval_of(
    by: str, note: str | None, arguments: Mapping[str, Json] | str | None, sticky: bool, *, limit: int
) -> Decision:
    """The decision to approve; `limit` is of the arguments, in bytes. Raises InvalidInput, InputTooLarge."""
    text = None if arguments is None else _as_text(_in_one_form(arguments), "arguments", limit)
    return _checked(DecisionKind.APPROVE, by, note, arguments=text, sticky=check_flag(sticky, "sticky"))


def rejection_of(by: str, reason: str | None, sticky: bool) -> Decision:
    """The decision to reject. Raises InvalidInput."""
    if reason is not None and not isinstance(reason, str):
        raise InvalidInput("reason", f"is {type(reason).__name__}", "use a text")
    return _checked(DecisionKind.REJECT, by, reason, sticky=check_flag(sticky, "sticky"))


def resolution_of(by: str, outcome: str, output: Json, note: str | None, *, limit: int) -> Decision:
    """What became of a call in doubt; `output` is a text, or is stored as JSON. Raises InvalidInput."""
    known = {kind.value: kind for kind in IN_DOUBT_KINDS}
    if str(outcome) not in known:
        names = "'happened', 'not_happened', 'abort'"
        raise InvalidInput("outcome", f"{str(outcome)[:64]!r} is none", f"use one of: {names}")
    text = None if output is None else _as_text(output, "output", limit)
    return _checked(known[str(outcome)], by, note, output=text)


def check_added(value: str | list[Item], *, limit: int) -> list[Item]:
    """Items to put beside the outputs of a parked turn, copied. Raises InvalidInput, InputTooLarge."""
    items: list[Item] = decode(_as_text(as_items(value), "input", limit))
    return items


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


def _checked(
    kind: DecisionKind,
    by: str,
    note: str | None,
    *,
    arguments: str | None = None,
    sticky: bool = False,
    output: str | None = None,
) -> Decision:
    if note is not None and not isinstance(note, str):
        raise InvalidInput("note", f"is {type(note).__name__}", "use a text")
    return check_decision(Decision(kind, by, note, arguments, sticky, output))


def _in_one_form(arguments: Mapping[str, Json] | str) -> str:
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


def _as_text(value: Json, field: str, limit: int) -> str:
    text = value if isinstance(value, str) else encode(value, field=field)
    size = len(text.encode(errors="surrogatepass"))
    if size > limit:
        raise InputTooLarge(field, size, limit)
    return text


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
