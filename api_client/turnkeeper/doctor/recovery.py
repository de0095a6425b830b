"""Whether workers here can tell at once that another one died: by a lock, taken for a moment to see."""

from __future__ import annotations

import contextlib

from turnkeeper.doctor.findings import Finding, fail, ok, warn
from turnkeeper_storage.database import Database
from turnkeeper_storage.owner_lock import OwnerLock
from turnkeeper_storage.owner_names import name_of_this_process
from turnkeeper_storage.settings import Settings

CHECK = "recovery"


async def check_recovery(database: Database, settings: Settings) -> Finding:
    """How soon the runs of a killed worker go on. Takes a lock that is nobody else's, and gives it free."""
    wanted = settings.fast_recovery
    slowly = f"the runs of a killed worker go on when its leases end, within {settings.lease_seconds:g} s"
    if database.dialect != "postgresql":
        if wanted == "on":
            return fail(
                CHECK, "it is 'on', and SQLite has no such locks", "set TURNKEEPER_FAST_RECOVERY=auto"
            )
        return ok(CHECK, f"SQLite: {slowly}")
    if wanted == "off":
        return ok(CHECK, f"off: {slowly}")
    name = name_of_this_process().locked
    async with contextlib.aclosing(OwnerLock(settings.direct_url, name)) as lock:
        await lock.take()
        fault = await lock.fault(database)
    if fault is None:
        return ok(CHECK, "the runs of a killed worker go on within seconds: locks of workers are seen")
    remedy = "set TURNKEEPER_DIRECT_DATABASE_URL to the address of PostgreSQL itself"
    return (fail if wanted == "on" else warn)(CHECK, f"{fault}: {slowly}", remedy)
