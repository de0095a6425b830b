"""`turnkeeper agents`: what workers have registered."""

from __future__ import annotations

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, Common, DatabaseUrl
from turnkeeper_client.snapshots import agent_as_json


def agents(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the agents that workers have registered."""
    with Common(database_url, None, None).client() as client:
        found = client.agents()
    if as_json:
        output.write_json({"agents": [agent_as_json(one) for one in found]})
        return
    if not found:
        output.write("No agents: no worker has registered any.")
        return
    rows = [
        (
            one.name,
            one.queue,
            ", ".join(str(tool.get("name", "?")) for tool in one.tools),
            output.when(one.seen_at),
        )
        for one in found
    ]
    output.write_table(("AGENT", "QUEUE", "TOOLS", "SEEN (UTC)"), rows)
