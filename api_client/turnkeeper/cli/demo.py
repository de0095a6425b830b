"""`turnkeeper demo`: the main job on real processes."""

from __future__ import annotations

from typing import Annotated

import typer

from turnkeeper.cli.options import BrokerUrl, DatabaseUrl


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's folder and show where it is.")
    ] = False,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
) -> None:
    """Show the main job on real processes: no server and no API key needed."""
    from turnkeeper.demo.main import run_demo

    raise typer.Exit(run_demo(keep=keep, database_url=database_url, broker_url=broker_url))
