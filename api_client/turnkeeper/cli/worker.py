"""`turnkeeper worker`: a production worker for the agents of a module."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from turnkeeper.cli.loading import load_app

LogLevel = Literal["debug", "info", "warning", "error", "critical"]


def worker(
    module: Annotated[
        str, typer.Argument(metavar="MODULE[:ATTRIBUTE]", help="Where the Turnkeeper instance is.")
    ],
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs in flight at once.", show_default=False)
    ] = None,
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Queue of wake-ups.", show_default=False)
    ] = None,
    loglevel: Annotated[
        LogLevel | None,
        typer.Option(
            help="How much to log; default: TURNKEEPER_LOG_LEVEL.", case_sensitive=False, show_default=False
        ),
    ] = None,
    hostname: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this node.", show_default=False)
    ] = None,
    no_ingest: Annotated[bool, typer.Option("--no-ingest", help="Take no jobs of other producers.")] = False,
) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    app = load_app(module, queue=queue, concurrency=concurrency)
    from turnkeeper.telemetry.collecting import collecting
    from turnkeeper.telemetry.logs import dress_celery, tell_once_ready
    from turnkeeper_worker.command import run_worker

    settings = app.settings
    dress_celery(settings.log_format)
    with collecting(settings, "turnkeeper-worker") as url:
        tell_once_ready(url)
        level = loglevel or settings.log_level
        code = run_worker(
            app,
            loglevel=level,
            hostname=hostname,
            ingest=not no_ingest,
            # a banner is no object of JSON
            quiet=settings.log_format == "json",
        )
    raise typer.Exit(code)
