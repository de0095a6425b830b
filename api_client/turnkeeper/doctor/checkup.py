"""All checks, side by side, each within its time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from turnkeeper.doctor.database import check_database
from turnkeeper.doctor.findings import Finding, ok, warn, within
from turnkeeper.doctor.outside import check_broker, check_model, check_redis, prepare
from turnkeeper_storage.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

SECONDS = 10.0
PREFIX = "TURNKEEPER_"


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at. `digests` are of the module's agents by name, `celery` is the module's app."""

    settings: Settings
    celery: Celery | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    asks_model: bool = True


async def examine(patient: Patient, seconds: float = SECONDS) -> list[Finding]:
    """All findings, in a fixed order. `seconds` is what each part may take."""
    prepare()
    settings = patient.settings
    parts = [
        within(
            seconds,
            "database",
            "see TURNKEEPER_DATABASE_URL; `turnkeeper migrate` makes or upgrades the tables",
            check_database(settings, patient.digests),
        ),
        within(
            seconds,
            "broker",
            "check TURNKEEPER_BROKER_URL; meanwhile workers find runs by sweeping",
            check_broker(settings, patient.celery),
        ),
        within(
            seconds,
            "redis",
            "check TURNKEEPER_REDIS_URL; meanwhile readers poll for durable events",
            check_redis(settings),
        ),
    ]
    if patient.asks_model:
        remedy = "check OPENAI_BASE_URL and OPENAI_API_KEY"
        parts.append(within(seconds, "model", remedy, check_model(settings)))
    found = await asyncio.gather(*parts)
    return [*check_names(os.environ), *(one for part in found for one in part)]


def check_names(environment: Mapping[str, str]) -> list[Finding]:
    """Variables with our prefix that are no settings: a slip of the pen is otherwise without effect."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        return [warn("settings", f"{', '.join(unknown)}: no such setting", "see docs/operations.md")]
    return [ok("settings", "valid")]
