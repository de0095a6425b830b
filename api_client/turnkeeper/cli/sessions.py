"""`turnkeeper sessions`: list, show, add, pop, clear; the others stand in `session_life`,
`session_erase`, `session_check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from turnkeeper.cli import output, session_check, session_erase, session_life
from turnkeeper.cli.options import AsJson, By, Cursor, Limit, SessionId, Yes, client_of, confirm, me
from turnkeeper.cli.options import remember_with_agents as remember
from turnkeeper.cli.reading import read_input
from turnkeeper_storage.errors import InvalidInput

app = typer.Typer(help="Look at histories and edit them.", no_args_is_help=True, rich_markup_mode=None)
app.callback()(remember)
app.command()(session_life.info)
app.command("set")(session_life.set_fields)
app.command()(session_life.delete)
app.command()(session_erase.erase)
app.command("export")(session_life.export)
app.command("import")(session_life.import_)
app.command()(session_life.edits)
app.command()(session_check.check)
ROLES = ("user", "assistant", "system", "developer")


@app.command("list")
def list_sessions(
    context: typer.Context,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="Only ids that begin with it.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this owner.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List sessions in the order of their ids."""
    with client_of(context) as client:
        page = client.sessions(limit=limit, cursor=cursor, prefix=prefix, owner=owner)
    if as_json:
        output.write_json(page.as_json())
        return
    if not page.sessions:
        output.write("No sessions.")
        return
    rows = [(one.id, str(one.items), str(one.runs), output.when(one.updated_at)) for one in page.sessions]
    output.write_table(("SESSION", "ITEMS", "RUNS", "UPDATED (UTC)"), rows)
    if page.next_cursor:
        output.write(f"More: --cursor {page.next_cursor!r}")


@app.command()
def show(
    context: typer.Context,
    session_id: SessionId,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Only the newest N items.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the items of a session, oldest first, and what its runs have used."""
    with client_of(context) as client:
        items = client.session(session_id).get_items(limit)
        usage = client.usage(session_id)
    if as_json:
        output.write_json({"id": session_id, "items": items, "usage": usage.as_json()})
        return
    for item in items:
        output.write(output.describe_item(item))
    if not items:
        output.write("No items.")
    if usage.requests:
        calls = "1 model call" if usage.requests == 1 else f"{usage.requests} model calls"
        output.write(f"\nTokens: {usage.input_tokens} in, {usage.output_tokens} out, {calls}")


@app.command()
def add(
    context: typer.Context,
    session_id: SessionId,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="A message; - for standard input.")
    ] = None,
    role: Annotated[str, typer.Option(metavar="ROLE", help="Whose message TEXT is.")] = "user",
    items: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON list of items instead of TEXT.")
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Add a message, or the items of a file, at the end of a session."""
    if role not in ROLES:
        raise InvalidInput("--role", f"is {role!r}", "use one of: " + ", ".join(ROLES))
    new = read_input(text, items, role=role)
    with client_of(context) as client:
        client.session(session_id, by=by or me("cli")).add_items(new)
    if as_json:
        output.write_json({"id": session_id, "added": new})
    else:
        output.write(f"Added {len(new)} to {session_id}.")


@app.command()
def pop(
    context: typer.Context, session_id: SessionId, yes: Yes = False, by: By = None, as_json: AsJson = False
) -> None:
    """Remove the newest item of a session and print it."""
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Remove the newest item of {output.clean(session_id)}?", abort=True, err=True)
    with client_of(context) as client:
        item = client.session(session_id, by=by or me("cli")).pop_item()
    if as_json:
        output.write_json({"id": session_id, "popped": item})
    else:
        output.write("No items." if item is None else output.describe_item(item))


@app.command()
def clear(
    context: typer.Context, session_id: SessionId, yes: Yes = False, by: By = None, as_json: AsJson = False
) -> None:
    """Remove all items of a session; its runs stay."""
    confirm(f"Remove all items of {output.clean(session_id)}?", yes=yes)
    with client_of(context) as client:
        client.session(session_id, by=by or me("cli")).clear_session()
    if as_json:
        output.write_json({"id": session_id, "cleared": True})
    else:
        output.write(f"Cleared {session_id}.")
