"""`turnkeeper dev`: everything on one machine with no server to install."""

from __future__ import annotations

from typing import Annotated

import typer

DatabaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Default: SQLite in .turnkeeper/dev.db.", show_default=False),
]
BrokerUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Default: a Valkey server of its own.", show_default=False),
]
Reload = Annotated[
    bool | None,
    typer.Option("--reload/--no-reload", help="New workers when the code changes.", show_default=False),
]


def dev(
    module: Annotated[
        str, typer.Argument(metavar="MODULE[:ATTRIBUTE]", help="Where the Turnkeeper instance is.")
    ],
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=32, help="Worker processes.")] = 1,
    reload: Reload = None,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    practice: Annotated[
        bool, typer.Option("--practice", help="The practice model, though there is an API key.")
    ] = False,
    api_port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=65_535,
            help="Port of the HTTP API. Default: 8700, or another one that is free.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run your agents here: database, broker, workers, API, and a practice model for want of a real one."""
    from turnkeeper.dev.main import run_dev
    from turnkeeper.dev.stage import Wishes

    raise typer.Exit(run_dev(Wishes(module, workers, reload, database_url, broker_url, practice, api_port)))
