"""Options that several commands share, and the client that they lead to."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import typer

from turnkeeper.cli.loading import load_app
from turnkeeper.dev.place import find_dev
from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage.errors import InvalidInput

DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database-url", metavar="URL", help="Default: TURNKEEPER_DATABASE_URL.", show_default=False
    ),
]
BrokerUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--broker-url", metavar="URL", help="Default: TURNKEEPER_BROKER_URL.", show_default=False),
]
Tenant: TypeAlias = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Default: TURNKEEPER_TENANT.", show_default=False),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Limit: TypeAlias = Annotated[int, typer.Option("--limit", metavar="N", help="Entries of one page.")]
Cursor: TypeAlias = Annotated[
    str | None,
    typer.Option("--cursor", metavar="CURSOR", help="next_cursor of the page before.", show_default=False),
]


@dataclass(frozen=True, slots=True)
class Common:
    """Where a group's commands find things; None leaves it to the environment.

    Where that says nothing either, it is the servers of the `turnkeeper dev` that runs in this folder.
    """

    database_url: str | None
    broker_url: str | None
    tenant: str | None
    agents: str | None = None

    def async_client(self) -> AsyncClient:
        """A client for a server, with all that the instance of `agents` says. Raises ConfigurationError."""
        if self.agents is None:
            found = find_dev() if self.database_url is None and self.broker_url is None else None
            place = found if found is not None else self
            return AsyncClient(
                database_url=place.database_url, broker_url=place.broker_url, tenant=self.tenant
            )
        app = load_app(self.agents)
        return AsyncClient(
            settings=app.settings,
            database_url=self.database_url,
            broker_url=self.broker_url,
            tenant=self.tenant,
            celery=app.celery if self.broker_url is None else None,
            session_factory=app.session_factory,
        )

    def client(self) -> Client:
        """A client for one command. Raises ConfigurationError."""
        factory = load_app(self.agents).session_factory if self.agents is not None else None
        found = find_dev() if self.database_url is None and self.broker_url is None else None
        place = found if found is not None else self
        return Client(
            database_url=place.database_url,
            broker_url=place.broker_url,
            tenant=self.tenant,
            session_factory=factory,
        )


SessionId: TypeAlias = Annotated[str, typer.Argument(metavar="SESSION_ID", help="The id of the session.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
By: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Who does it, for the audit. Default: you.", show_default=False
    ),
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `yes`. Raises InvalidInput where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput("--yes", "is missing, and there is no terminal to ask on", "add --yes")
    typer.confirm(question, abort=True, err=True)


def me(default: str) -> str:
    """The name of who uses the command line; `default` where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return default


def remember(
    context: typer.Context,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    tenant: Tenant = None,
) -> None:
    """The callback of a group: keeps its options for its commands."""
    context.obj = Common(database_url, broker_url, tenant)


def remember_with_agents(
    context: typer.Context,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    tenant: Tenant = None,
    agents: Annotated[
        str | None,
        typer.Option(
            "--agents",
            metavar="MODULE[:ATTRIBUTE]",
            help="Open sessions as this Turnkeeper instance does, where its session_factory says.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """The same for a group that opens sessions."""
    context.obj = Common(database_url, broker_url, tenant, agents)


def client_of(context: typer.Context) -> Client:
    """The client that the options of the command's group lead to."""
    common = context.obj
    return (common if isinstance(common, Common) else Common(None, None, None)).client()
