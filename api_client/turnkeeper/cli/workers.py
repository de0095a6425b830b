"""`turnkeeper workers`: the worker processes, as they tell of themselves."""

from __future__ import annotations

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, Common, DatabaseUrl, Tenant


def workers(database_url: DatabaseUrl = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the worker processes: slots, sessions in flight, and leases of the tenant that were lost."""
    with Common(database_url, None, tenant).client() as client:
        found = client.workers()
    if as_json:
        output.write_json({"workers": [one.as_json() for one in found]})
        return
    if not found:
        output.write("No workers: none has told of itself.")
        return
    rows = [
        (
            one.name,
            one.queue or "?",
            _count(one.slots),
            _count(one.in_flight),
            str(one.lost),
            output.when(one.started_at),
            f"{output.when(one.seen_at)}{' silent' if one.silent else ''}".strip(),
        )
        for one in found
    ]
    columns = ("WORKER", "QUEUE", "SLOTS", "IN FLIGHT", "LOST", "STARTED (UTC)", "SEEN (UTC)")
    output.write_table(columns, rows)


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)
