"""Where the command line begins: its commands, and what their errors become.

Exit codes: 0 done; 1 it could not be done; 2 the call is wrong; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from turnkeeper.cli import (
    agents,
    api,
    approvals,
    chat,
    demo,
    dev,
    doctor,
    keys,
    migrate,
    roles,
    runs,
    sessions,
    worker,
    workers,
)
from turnkeeper_storage.errors import ConfigurationError, InvalidInput, TurnkeeperError
from turnkeeper_storage.version import __version__

FAILED = 1
WRONG_CALL = 2
INTERRUPTED = 130

app = typer.Typer(
    name="turnkeeper",
    help="LLM agent turns as durable background jobs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("dev")(dev.dev)
app.command("chat")(chat.chat)
app.command("worker")(worker.worker)
app.command("api")(api.api)
app.command("migrate")(migrate.migrate)
app.command("roles")(roles.roles)
app.command("agents")(agents.agents)
app.command("workers")(workers.workers)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(runs.app, name="runs")
app.add_typer(approvals.app, name="approvals")
app.add_typer(sessions.app, name="sessions")
app.add_typer(keys.app, name="keys")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"turnkeeper {__version__}")
        raise typer.Exit


@app.callback()
def _turnkeeper(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """LLM agent turns as durable background jobs."""


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors of ours are one line on standard error."""
    try:
        app(args=list(arguments), prog_name="turnkeeper")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED if end.code else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (InvalidInput, ConfigurationError) as error:
        return _say(error, WRONG_CALL)
    except TurnkeeperError as error:
        return _say(error, FAILED)
    return 0


def _say(error: TurnkeeperError, code: int) -> int:
    typer.echo(f"turnkeeper: {' '.join(str(error).split())}", err=True)
    return code
