"""`turnkeeper approvals`: list, show, approve, reject, resolve, watch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import typer

from turnkeeper.cli import output, watching
from turnkeeper.cli.options import AsJson, Cursor, Limit, client_of, remember
from turnkeeper.cli.reading import parse_json
from turnkeeper_client import Client
from turnkeeper_client.approval_snapshots import ApprovalSnapshot
from turnkeeper_storage.errors import Conflict, InvalidInput, NotFound, TurnkeeperError

app = typer.Typer(
    help="Look at tool calls that wait for a person, and decide.", no_args_is_help=True, rich_markup_mode=None
)
app.callback()(remember)
FAILED = 1
ApprovalId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The id of an approval, apr_….")]
ApprovalIds: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="ID…", help="The ids of one or more approvals.")
]
By: TypeAlias = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who decides. Default: $USER.", envvar="USER"),
]
Note: TypeAlias = Annotated[str | None, typer.Option(metavar="TEXT", help="A remark that is kept.")]
Sticky: TypeAlias = Annotated[
    bool, typer.Option("--sticky", help="For all calls of this tool in this run, those to come too.")
]
Session: TypeAlias = Annotated[str | None, typer.Option(metavar="ID", help="Only of this session.")]
Run: TypeAlias = Annotated[str | None, typer.Option(metavar="RUN_ID", help="Only of this run.")]
ToolName: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="Only of this tool.")]
Status = Literal["pending", "approved", "rejected", "expired", "cancelled", "all"]


@app.command("list")
def list_approvals(
    context: typer.Context,
    status: Annotated[Status, typer.Option(help="Only in this status.")] = "pending",
    session: Session = None,
    run: Run = None,
    tool: ToolName = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List approvals, newest first; those that wait, unless told otherwise."""
    wanted = None if status == "all" else status
    with client_of(context) as client:
        page = client.approvals(wanted, session, run, tool, limit=limit, cursor=cursor)
    if as_json:
        output.write_json(page.as_json())
        return
    if not page.approvals:
        output.write("Nothing waits for a person." if status == "pending" else "No approvals.")
        return
    rows = [
        (one.id, one.session_id, one.tool, watching.short(one), watching.standing(one), watching.age(one))
        for one in page.approvals
    ]
    output.write_table(("APPROVAL", "SESSION", "TOOL", "ARGUMENTS", "STATUS", "SINCE"), rows)
    if page.next_cursor:
        output.write(f"More: --cursor {page.next_cursor}")


@app.command()
def show(context: typer.Context, approval_id: ApprovalId, as_json: AsJson = False) -> None:
    """Show an approval: the call, its arguments in full, and how it was decided."""
    with client_of(context) as client:
        approval = client.approval(approval_id)
    if as_json:
        output.write_json(approval.as_json())
        return
    for name, value in watching.lines_of(approval):
        output.write(f"{name + ':':<11}{value}")


@app.command()
def approve(
    context: typer.Context,
    approval_ids: ApprovalIds,
    by: By = None,
    note: Note = None,
    arguments: Annotated[
        str | None, typer.Option(metavar="JSON", help="Run the tool with these instead.")
    ] = None,
    sticky: Sticky = False,
    as_json: AsJson = False,
) -> None:
    """Let calls run. Exit code 1 when one was decided otherwise before, is too late, or its run has ended."""
    who = _who(by)
    edited = None if arguments is None else parse_json(arguments, "--arguments")
    if edited is not None and not isinstance(edited, dict):
        raise InvalidInput("--arguments", f"is {type(edited).__name__}", "send a JSON object")

    def one(client: Client, approval_id: str) -> ApprovalSnapshot:
        return client.approve(approval_id, by=who, note=note, arguments=edited, sticky=sticky)

    _decide_all(context, approval_ids, one, as_json=as_json)


@app.command()
def reject(
    context: typer.Context,
    approval_ids: ApprovalIds,
    by: By = None,
    reason: Annotated[
        str | None, typer.Option("--reason", "--note", metavar="TEXT", help="The model is told so.")
    ] = None,
    sticky: Sticky = False,
    as_json: AsJson = False,
) -> None:
    """Refuse calls; the model is told, and goes on. Exit codes as for approve."""
    who = _who(by)

    def one(client: Client, approval_id: str) -> ApprovalSnapshot:
        return client.reject(approval_id, by=who, reason=reason, sticky=sticky)

    _decide_all(context, approval_ids, one, as_json=as_json)


@app.command()
def resolve(
    context: typer.Context,
    approval_id: ApprovalId,
    outcome: Annotated[
        Literal["happened", "not_happened", "abort"], typer.Argument(help="What you found out.")
    ],
    by: By = None,
    text: Annotated[
        str | None, typer.Option("--output", metavar="TEXT", help="What a call that happened gave.")
    ] = None,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of a call in doubt: its worker died in it, and it may have had its effect."""
    who = _who(by)

    def one(client: Client, approval_id: str) -> ApprovalSnapshot:
        return client.resolve(approval_id, by=who, outcome=outcome, output=text, note=note)

    _decide_all(context, [approval_id], one, as_json=as_json)


@app.command()
def watch(
    context: typer.Context,
    by: By = None,
    session: Session = None,
    tool: ToolName = None,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.05, help="How often to look.")
    ] = watching.INTERVAL,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document a line; nobody is asked.")
    ] = False,
) -> None:
    """Follow what waits for a person: ask on a terminal, write lines elsewhere. Ends with Ctrl-C."""
    asks = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    who = _who(by) if asks else ""
    with client_of(context) as client:
        for approval in watching.follow(client, session, tool, interval):
            if not asks:
                watching.tell(approval, as_json=as_json)
            elif not watching.ask(client, approval, who):
                return


def _who(by: str | None) -> str:
    if not by:
        raise InvalidInput("--by", "is missing, and $USER is not set", "say who decides: --by NAME")
    return by


def _decide_all(
    context: typer.Context,
    approval_ids: list[str],
    decide: Callable[[Client, str], ApprovalSnapshot],
    *,
    as_json: bool,
) -> None:
    """Decide one after the other; one that loses does not hold up the rest."""
    decided: list[ApprovalSnapshot] = []
    lost: list[tuple[str, TurnkeeperError]] = []
    with client_of(context) as client:
        for approval_id in approval_ids:
            try:
                decided.append(decide(client, approval_id))
            except (Conflict, NotFound, InvalidInput) as error:
                if len(approval_ids) == 1:
                    raise
                lost.append((approval_id, error))
                continue
            if not as_json:
                output.write(f"{approval_id} is {watching.standing(decided[-1])}.")
    if as_json and len(approval_ids) == 1:
        output.write_json(decided[0].as_json())
    elif as_json:
        failed = [{"id": one, "error": str(why)} for one, why in lost]
        output.write_json({"approvals": [one.as_json() for one in decided], "failed": failed})
    for _, why in lost:
        typer.echo(f"turnkeeper: {output.clean(str(why))}", err=True)
    if lost:
        raise typer.Exit(FAILED)
