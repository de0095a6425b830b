"""What callers hand in to decide an approval, checked at the edge. Pure: no database, no loop.

Every error names the field, describes the value without its content, and says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from turnkeeper_storage import ids
from turnkeeper_storage.admission import check_flag
from turnkeeper_storage.approvals import IN_DOUBT_KINDS, Decision, DecisionKind, check_decision
from turnkeeper_storage.edited_arguments import in_one_form
from turnkeeper_storage.errors import InputTooLarge, InvalidInput, NotFound
from turnkeeper_storage.items import CALL_TYPES, OUTPUT_TYPES, Item, Json, as_items, decode, encode
from turnkeeper_storage.model import ApprovalStatus

# A second output of a call would tear the turn that waits for it, and a call would wait for ever.
NOT_ADDED = CALL_TYPES | OUTPUT_TYPES | {"mcp_approval_request", "mcp_approval_response"}


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
    by: str | None, note: str | None, arguments: Mapping[str, Json] | str | None, sticky: bool, *, limit: int
) -> Decision:
    """The decision to approve; `limit` is of the arguments, in bytes. Raises InvalidInput, InputTooLarge."""
    text = None if arguments is None else _as_text(in_one_form(arguments), "arguments", limit)
    return _checked(DecisionKind.APPROVE, by, note, arguments=text, sticky=check_flag(sticky, "sticky"))


def rejection_of(by: str | None, reason: str | None, sticky: bool) -> Decision:
    """The decision to reject. Raises InvalidInput."""
    if reason is not None and not isinstance(reason, str):
        raise InvalidInput("reason", f"is {type(reason).__name__}", "use a text")
    return _checked(DecisionKind.REJECT, by, reason, sticky=check_flag(sticky, "sticky"))


def resolution_of(by: str | None, outcome: str, output: Json, note: str | None, *, limit: int) -> Decision:
    """What became of a call in doubt; `output` is a text, or is stored as JSON. Raises InvalidInput."""
    known = {kind.value: kind for kind in IN_DOUBT_KINDS}
    if str(outcome) not in known:
        names = "'happened', 'not_happened', 'abort'"
        raise InvalidInput("outcome", f"{str(outcome)[:64]!r} is none", f"use one of: {names}")
    text = None if output is None else _as_text(output, "output", limit)
    return _checked(known[str(outcome)], by, note, output=text)


def check_added(value: str | list[Item], *, limit: int) -> list[Item]:
    """Items to put beside the outputs of a parked turn, copied. Raises InvalidInput, InputTooLarge."""
    given = as_items(value)
    for index, item in enumerate(given):
        if item.get("type") in NOT_ADDED:
            raise InvalidInput(
                f"input[{index}]", f"is a {item['type']}", "add messages: calls and outputs are the run's own"
            )
    items: list[Item] = decode(_as_text(given, "input", limit))
    return items


def _checked(
    kind: DecisionKind,
    by: str | None,
    note: str | None,
    *,
    arguments: str | None = None,
    sticky: bool = False,
    output: str | None = None,
) -> Decision:
    if by is None:
        raise InvalidInput("by", "is missing", "say who decides")
    if note is not None and not isinstance(note, str):
        raise InvalidInput("note", f"is {type(note).__name__}", "use a text")
    return check_decision(Decision(kind, by, note, arguments, sticky, output))


def _as_text(value: Json, field: str, limit: int) -> str:
    text = value if isinstance(value, str) else encode(value, field=field)
    size = len(text.encode(errors="surrogatepass"))
    if size > limit:
        raise InputTooLarge(field, size, limit)
    return text
