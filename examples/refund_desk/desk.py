"""Both sides of the desk: a customer who asks and watches, and a colleague who decides.

python desk.py ask "Please refund order 7, 12.50 EUR"
python desk.py list
python desk.py approve apr_… --by ana@shop.example
python desk.py reject apr_… --by ana@shop.example --reason "too old"
"""

from __future__ import annotations

import argparse
import sys

from turnkeeper import Client, TurnkeeperError


def ask(client: Client, session: str, text: str) -> int:
    """Send a message and watch it to its end, however long a person takes to decide."""
    run = client.enqueue(session, text, agent="desk", stream=True)
    shown = ""
    for event in run.events():
        match event.type:
            case "delta.text":
                shown += event.data["text"]
                print(event.data["text"], end="", flush=True)
            case "turn.restarted":
                print("\n(once more)")  # what was printed of this answer is void
            case "approval.requested":
                print(f"waits for a person: {event.data['tool']}, {event.data['approval_id']}", flush=True)
            case "approval.decided":
                decided = client.approval(str(event.data["approval_id"]))
                print(f"{decided.status.value} by {decided.decided_by}", flush=True)
    ended = run.get()
    if ended.output and str(ended.output) not in shown:  # live pieces can be lost, the outcome cannot
        print(ended.output, end="")
    print(f"\n{ended.status.value}{f': {ended.error.message}' if ended.error else ''}")
    return 0 if ended.status == "completed" else 1


def show(client: Client) -> int:
    """List what waits for a person."""
    for approval in client.approvals().approvals:
        print(f"{approval.id}  {approval.session_id}  {approval.tool}  {approval.arguments}")
    return 0


def decide(client: Client, approval_id: str, by: str, *, approve: bool, reason: str | None) -> int:
    """Decide; who was second is told how it was decided before."""
    if approve:
        decided = client.approve(approval_id, by=by, note=reason)
    else:
        decided = client.reject(approval_id, by=by, reason=reason)
    print(f"{decided.id} is {decided.status.value} by {decided.decided_by}")
    return 0


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="A refund desk, from both sides.")
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("ask", help="ask, and watch what comes of it")
    asking.add_argument("text")
    asking.add_argument("--session", default="customer-42")
    commands.add_parser("list", help="list what waits for a person")
    for name in ("approve", "reject"):
        deciding = commands.add_parser(name, help=f"{name} a refund")
        deciding.add_argument("approval")
        deciding.add_argument("--by", required=True, help="who decides")
        deciding.add_argument("--reason")
    return parser.parse_args()


def main() -> int:
    """Do what the command line says; the exit code is 1 when it did not work."""
    given = parsed()
    try:
        with Client() as client:
            if given.command == "ask":
                return ask(client, given.session, given.text)
            if given.command == "list":
                return show(client)
            approve = given.command == "approve"
            return decide(client, given.approval, given.by, approve=approve, reason=given.reason)
    except TurnkeeperError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
