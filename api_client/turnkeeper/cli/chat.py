"""`turnkeeper chat`: talk to an agent in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from turnkeeper.cli.options import BrokerUrl, Common, DatabaseUrl, Tenant


def chat(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session, made when new.")],
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who answers. Default: the only one there is.", show_default=False),
    ] = None,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Say only this, and end with the answer.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who decides on approvals. Default: you.", show_default=False),
    ] = None,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    tenant: Tenant = None,
) -> None:
    """Talk to an agent: its words as they come, its tool calls, and approvals that ask you.

    Without a terminal each line of standard input is one message.
    """
    from turnkeeper.chat.main import run_chat

    with Common(database_url, broker_url, tenant).client() as client:
        raise typer.Exit(run_chat(client, session_id, agent=agent, message=message, by=by))
