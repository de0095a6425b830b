"""`turnkeeper keys`: create, list, revoke, delete keys of the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, Yes, client_of, confirm, remember
from turnkeeper_storage.api_keys import ApiKey, Scope

app = typer.Typer(
    help="Make, list, revoke and delete keys of the HTTP API.", no_args_is_help=True, rich_markup_mode=None
)
app.callback()(remember)
SCOPES = ", ".join(scope.value for scope in Scope)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Whom decisions and edits with it are recorded as.")
    ],
    scope: Annotated[
        list[str],
        typer.Option("--scope", "-s", metavar="SCOPE", help=f"What it may do; again for more: {SCOPES}."),
    ],
    as_json: AsJson = False,
) -> None:
    """Make a key of the tenant. It is shown once, and stored as a hash only."""
    with client_of(context) as client:
        made = client.create_api_key(name, scope)
    if as_json:
        output.write_json({**made.key.as_json(), "key": made.text})
        return
    output.write(made.text)
    typer.echo(
        f"turnkeeper: key {made.key.id} of tenant {made.key.tenant!r} for {made.key.name!r}; "
        "keep it now, it is not shown again",
        err=True,
    )


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys of the tenant, newest first, without their secrets."""
    with client_of(context) as client:
        keys = client.api_keys()
    if as_json:
        output.write_json({"keys": [key.as_json() for key in keys]})
        return
    if not keys:
        output.write("No keys. Make one: turnkeeper keys create NAME --scope runs")
        return
    output.write_table(
        ("KEY", "NAME", "SCOPES", "CREATED", "LAST USED", "REVOKED"), [_row(key) for key in keys]
    )


@app.command()
def delete(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a key, as `list` shows it.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Revoke a key and forget whose it was: `list` shows it no more."""
    confirm(f"Delete the key {output.clean(key_id)}?", yes=yes)
    with client_of(context) as client:
        client.delete_api_key(key_id)
    if as_json:
        output.write_json({"id": key_id, "deleted": True})
    else:
        output.write(f"Deleted {output.clean(key_id)}.")


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a key, as `list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """From now on the key opens nothing. Safe to repeat."""
    with client_of(context) as client:
        key = client.revoke_api_key(key_id)
    if as_json:
        output.write_json(key.as_json())
    else:
        output.write(f"Key {key.id} of {key.name!r} is revoked.")


def _row(key: ApiKey) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        " ".join(sorted(key.scopes)),
        output.when(key.created_at),
        output.when(key.last_used_at),
        output.when(key.revoked_at),
    )
