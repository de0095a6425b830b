"""`turnkeeper doctor`: look at everything that an installation needs, and say what to do."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.loading import load_app
from turnkeeper.cli.options import AsJson, BrokerUrl, DatabaseUrl
from turnkeeper.doctor.checkup import Patient, examine
from turnkeeper.doctor.findings import Finding, Level, fail
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.settings import load_settings

FAILED = 1


def doctor(
    module: Annotated[
        str | None,
        typer.Argument(metavar="[MODULE[:ATTRIBUTE]]", help="Look with the settings of this Turnkeeper."),
    ] = None,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check settings, database, broker, Redis, model server, and whether runs move. Changes nothing.

    Exit code 1 when something fails; warnings alone are 0.
    """
    found = _examine(module, database_url, broker_url)
    failed = any(one.level is Level.FAIL for one in found)
    if as_json:
        output.write_json({"ok": not failed, "findings": [one.as_json() for one in found]})
    else:
        for one in found:
            output.write(f"{one.level.value:<5} {one.check:<11} {one.text}")
            if one.remedy:
                output.write(f"{'':<17} → {one.remedy}")
    if failed:
        raise typer.Exit(FAILED)


def _examine(module: str | None, database_url: str | None, broker_url: str | None) -> list[Finding]:
    try:
        patient = _patient(module, database_url, broker_url)
    except ConfigurationError as error:
        return [fail("settings", str(error), "see docs/operations.md")]
    return asyncio.run(examine(patient))


def _patient(module: str | None, database_url: str | None, broker_url: str | None) -> Patient:
    given = {"database_url": database_url, "broker_url": broker_url}
    if module is None:
        return Patient(load_settings(**given))
    app = load_app(module)
    named = {name: value for name, value in given.items() if value is not None}
    return Patient(
        app.settings.model_copy(update=named),
        # an app that was given has a broker of its own; one of ours has that of the settings
        app.celery if broker_url is None else None,
        {name: agent.digest for name, agent in app.agents.items()},
        asks_model=app.model is None and app.runner is None,
    )
