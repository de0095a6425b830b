"""`turnkeeper sessions erase`: a person's data, without a trace."""

from __future__ import annotations

from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, By, Yes, client_of, confirm, me
from turnkeeper_client import Erasure
from turnkeeper_client.erasing import whose


def erase(
    context: typer.Context,
    session_id: Annotated[
        str | None, typer.Argument(metavar="SESSION_ID", help="Only this session.", show_default=False)
    ] = None,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="All whose ids begin with it.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="All of this owner.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the tenant.")] = False,
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Erase sessions with all that they have, their streams, and what the audit has of them.

    The exit code is 1 when a session could not be erased; it is named with why.
    """
    whose(session_id, prefix, owner, everything=everything)
    confirm(f"Erase {_named(session_id, prefix, owner)} for good?", yes=yes)
    with client_of(context) as client:
        erased = client.erase(
            session_id, prefix=prefix, owner=owner, everything=everything, by=by or me("cli")
        )
    if as_json:
        output.write_json(erased.as_json())
    else:
        _tell(erased)
    if erased.left:
        raise typer.Exit(1)


def _named(session_id: str | None, prefix: str | None, owner: str | None) -> str:
    if session_id is not None:
        return output.clean(session_id)
    if prefix is not None:
        return f"all sessions that begin with {output.clean(prefix)}"
    return "all sessions of the tenant" if owner is None else f"all sessions of {output.clean(owner)}"


def _tell(erased: Erasure) -> None:
    for one in erased.left:
        output.write(f"NOT erased: {output.clean(one.session_id)}: {output.clean(one.reason)}")
    if erased.sessions:
        output.write(f"Erased: {erased.sessions} session{'s' * (erased.sessions != 1)}.")
    elif not erased.left:
        output.write("There was no such session; what the audit had of one is gone.")
