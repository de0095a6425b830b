"""`turnkeeper runs`: list, show, cancel, enqueue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turnkeeper.cli import output, watching
from turnkeeper.cli.options import AsJson, Cursor, Limit, client_of, remember
from turnkeeper.cli.reading import parse_json, read_input
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.items import Json

app = typer.Typer(help="Look at runs, start and cancel them.", no_args_is_help=True, rich_markup_mode=None)
app.callback()(remember)
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The id of a run, run_….")]


@app.command("list")
def list_runs(
    context: typer.Context,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")] = None,
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only in this status.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this agent.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    with client_of(context) as client:
        page = client.runs(session_id=session, status=status, agent=agent, limit=limit, cursor=cursor)
    if as_json:
        output.write_json(page.as_json())
        return
    if not page.runs:
        output.write("No runs.")
        return
    rows = [
        (run.id, run.session_id, str(run.seq), run.status.value, run.agent, output.when(run.created_at))
        for run in page.runs
    ]
    output.write_table(("RUN", "SESSION", "SEQ", "STATUS", "AGENT", "CREATED (UTC)"), rows)
    if page.next_cursor:
        output.write(f"More: --cursor {page.next_cursor}")


@app.command()
def show(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run: where it stands, its output or its error, its usage."""
    with client_of(context) as client:
        run = client.get(run_id)
    _write_run(run, as_json=as_json)


@app.command()
def cancel(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Cancel a run: one that waits ends at once, one that works at its next checkpoint."""
    with client_of(context) as client:
        run = client.cancel(run_id)
    if as_json:
        output.write_json(run.as_json())
    elif run.status.is_terminal:
        output.write(f"{run.id} is {run.status.value}.")
    else:
        output.write(f"{run.id} is {run.status.value}; it stops at its next checkpoint.")


@app.command()
def enqueue(
    context: typer.Context,
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session, made when new.")],
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="Who works on it.")],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The user's message; - for standard input.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON list of items instead of TEXT.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key gives the same run.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Call the model streamed.")] = False,
    max_turns: Annotated[int | None, typer.Option(metavar="N", help="Over the agent's own.")] = None,
    deadline_seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="From now on; then the run fails.")
    ] = None,
    token_limit: Annotated[
        int | None, typer.Option(metavar="N", help="Of all its model calls; over the agent's own.")
    ] = None,
    input_callback: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the worker's input callbacks, by its name.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="A JSON object that tools see.")
    ] = None,
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait so long for the run's end.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enqueue a run, and wait for it if asked."""
    free: Json = None if metadata is None else parse_json(metadata, "metadata")
    content = read_input(text, items)
    with client_of(context) as client:
        handle = client.enqueue(
            session_id,
            content,
            agent=agent,
            idempotency_key=idempotency_key,
            stream=stream,
            max_turns=max_turns,
            deadline_seconds=deadline_seconds,
            token_limit=token_limit,
            session_input_callback=input_callback,
            metadata=free,
        )
        run = handle.get() if wait is None else handle.wait(wait)
    _write_run(run, as_json=as_json)


def _write_run(run: RunSnapshot, *, as_json: bool) -> None:
    if as_json:
        output.write_json(run.as_json())
        return
    usage = run.usage
    lines = [
        ("run", run.id),
        ("session", f"{run.session_id} (place {run.seq})"),
        ("status", run.status.value + (", cancel requested" if _is_stopping(run) else "")),
        ("agent", run.agent),
        ("turns", str(run.turn)),
        ("tokens", f"{usage.input_tokens} in, {usage.output_tokens} out"),
        ("created", output.when(run.created_at)),
        ("started", output.when(run.started_at)),
        ("finished", output.when(run.finished_at)),
        ("deadline", output.when(run.deadline)),
        ("error", f"{run.error.code}: {run.error.message}" if run.error else ""),
        ("output", output.as_text(run.output)),
        *(("waits", f"{one.id} {one.tool} {watching.short(one)}") for one in run.approvals),
    ]
    for name, value in lines:
        if value:
            output.write(f"{name + ':':<10}{value}")


def _is_stopping(run: RunSnapshot) -> bool:
    return run.cancel_requested and not run.status.is_terminal
