"""`turnkeeper sessions` info, set, delete, export, import and edits: the life of a session."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, By, Cursor, Limit, SessionId, Yes, client_of, confirm, me
from turnkeeper.cli.reading import parse_json
from turnkeeper_client import SessionInfo
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Json
from turnkeeper_storage.verbs.session_life import UNSET

NOTHING = "none"


def info(context: typer.Context, session_id: SessionId, as_json: AsJson = False) -> None:
    """Show what is known of a session: owner, metadata, how long it is kept, where its items live."""
    with client_of(context) as client:
        found = client.session_info(session_id)
    _show(found, as_json=as_json)


def set_fields(
    context: typer.Context,
    session_id: SessionId,
    owner: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose it is; `none` takes the owner away.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="A JSON object; `none` takes it away.")
    ] = None,
    keep_seconds: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Delete it so long after its last change; `none`: as the setting says."
        ),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Say whose a session is, what else is to be known of it, how long it is kept."""
    if owner is metadata is keep_seconds is None:
        raise InvalidInput("--owner", "is missing, and so are the others", "give at least one thing to set")
    with client_of(context) as client:
        found = client.update_session(
            session_id,
            owner=UNSET if owner is None else _value(owner),
            metadata=UNSET if metadata is None else _metadata(metadata),
            retention_seconds=UNSET if keep_seconds is None else _seconds(keep_seconds),
            by=by or me("cli"),
        )
    _show(found, as_json=as_json)


def delete(
    context: typer.Context, session_id: SessionId, yes: Yes = False, by: By = None, as_json: AsJson = False
) -> None:
    """Delete a session with its items, runs and approvals, also while a run works in it."""
    confirm(f"Delete {output.clean(session_id)} with all that it has?", yes=yes)
    with client_of(context) as client:
        client.delete_session(session_id, by=by or me("cli"))
    if as_json:
        output.write_json({"id": session_id, "deleted": True})
    else:
        output.write(f"Deleted {session_id}.")


def export(
    context: typer.Context,
    session_id: SessionId,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = None,
) -> None:
    """Write a session as JSON lines: a header, then one item a line."""
    with client_of(context) as client:
        lines = client.export_session(session_id)
        if file is None:
            for line in lines:
                sys.stdout.write(f"{line}\n")
            return
        count = _write(file, lines)
    typer.echo(f"Wrote {count - 1} items to {file}.", err=True)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    session_id: Annotated[
        str | None, typer.Option("--as", metavar="SESSION_ID", help="Another id than the one in the file.")
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make a new session out of JSON lines, all of it or nothing."""
    with client_of(context) as client:
        found = client.import_session(_read(file), session_id=session_id, by=by or me("cli"))
    _show(found, as_json=as_json)


def edits(
    context: typer.Context,
    session_id: Annotated[
        str | None, typer.Argument(metavar="SESSION_ID", help="Only of this session.", show_default=False)
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List who edited sessions, when and how, newest first; never what was in them."""
    with client_of(context) as client:
        page = client.session_edits(session_id, limit=limit, cursor=cursor)
    if as_json:
        output.write_json(page.as_json())
        return
    if not page.edits:
        output.write("No edits.")
        return
    rows = [
        (
            output.when(one.created_at),
            one.session_id or "(erased)",
            one.action.value,
            one.by or "",
            ", ".join(one.fields) or ("" if one.items is None else str(one.items)),
        )
        for one in page.edits
    ]
    output.write_table(("WHEN (UTC)", "SESSION", "EDIT", "BY", "ITEMS"), rows)
    if page.next_cursor:
        output.write(f"More: --cursor {page.next_cursor}")


def _show(found: SessionInfo, *, as_json: bool) -> None:
    if as_json:
        output.write_json(found.as_json())
        return
    kept = found.retention_seconds
    lines = {
        "session": found.id,
        "owner": found.owner or "",
        "metadata": output.as_text(found.metadata or None),
        "kept": "as the setting says" if kept is None else f"{kept:g} s after its last change",
        "store": found.store or "nothing stored yet",
        "items": str(found.items),
        "runs": str(found.runs),
        "created": output.when(found.created_at),
        "updated": output.when(found.updated_at),
    }
    for name, value in lines.items():
        output.write(f"{name + ':':<10}{value}".rstrip())


def _value(text: str) -> str | None:
    return None if text == NOTHING else text


def _metadata(text: str) -> Mapping[str, Json] | None:
    if text == NOTHING:
        return None
    value = parse_json(text, "--metadata")
    if not isinstance(value, Mapping):
        raise InvalidInput(
            "--metadata", f"is {type(value).__name__}", 'use a JSON object, e.g. {"plan": "pro"}'
        )
    return value


def _seconds(text: str) -> float | None:
    if text == NOTHING:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInput("--keep-seconds", "is no number", "use seconds, or none") from None


def _write(file: Path, lines: Iterator[str]) -> int:
    count = 0
    try:
        # `x`: an export that is there already is not written over
        with file.open("x", encoding="utf-8") as stream:
            for line in lines:
                stream.write(f"{line}\n")
                count += 1
    except OSError as error:
        raise InvalidInput(
            "--output", f"{str(file)!r} cannot be written ({type(error).__name__})", "name a new file"
        ) from None
    return count


def _read(file: Path) -> list[str]:
    if str(file) == "-":
        return sys.stdin.readlines()
    try:
        return file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "FILE",
            f"{str(file)!r} cannot be read ({type(error).__name__})",
            "name a file of UTF-8 JSON lines",
        ) from None
