"""`python -m turnkeeper.dev.child ROLE …`: what runs in a child of `turnkeeper dev`.

worker MODULE            a worker
practice PORT            the practice model
api PORT MODULE          the HTTP API with its pages, for whoever is on this machine
valkey PORT              a Valkey server; its folder is the current one, its password in the environment

Standard input is the lifeline: it ends with the parent, however that ends, and the child with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

from turnkeeper.dev.exit_codes import BROKEN_MODULE, FAILED, WRONG_CALL
from turnkeeper.dev.parts import API_READY

# from the parent's end to the hard end of a child that does not listen
LAST_SECONDS = 15.0
# of requests under way when the API ends
GRACE_SECONDS = 1


def main(arguments: Sequence[str]) -> int:
    """Play one role until SIGTERM, or until the parent is gone; the exit code."""
    _hold_lifeline()
    role, *rest = arguments
    if role == "worker":
        return _work(rest[0])
    if role == "practice":
        return _practise(rest[0])
    if role == "api":
        return _serve(*rest)
    if role == "valkey":
        from turnkeeper.servers.valkey import run_valkey

        return run_valkey(int(rest[0]))
    sys.stderr.write(f"turnkeeper.dev.child: there is no role {role!r}\n")
    return WRONG_CALL


def _work(module: str) -> int:
    from turnkeeper.cli.loading import load_app
    from turnkeeper.telemetry.logs import dress_celery
    from turnkeeper_storage.errors import TurnkeeperError
    from turnkeeper_worker.command import run_worker

    # A file that is saved twice within a second would be hidden by what was compiled first.
    sys.dont_write_bytecode = True
    try:
        app = load_app(module)
    except TurnkeeperError as error:
        sys.stderr.write(f"turnkeeper: {error}\n")
        return BROKEN_MODULE
    except Exception:  # noqa: BLE001 - the user's module raises what it likes
        traceback.print_exc()
        return BROKEN_MODULE
    dress_celery(app.settings.log_format)
    try:
        return run_worker(app, loglevel=app.settings.log_level, quiet=True)
    except TurnkeeperError as error:
        sys.stderr.write(f"turnkeeper: {error}\n")
        return FAILED


def _practise(port: str) -> int:
    from turnkeeper.practice.__main__ import main as serve

    # at about the pace that one reads
    serve(["--port", port, "--pace", "0.03"])
    return 0


def _serve(descriptor: str, module: str) -> int:
    from turnkeeper.cli.loading import load_app
    from turnkeeper.serving.main import Handed, serve
    from turnkeeper.serving.pages import add_pages
    from turnkeeper_client import AsyncClient
    from turnkeeper_storage.errors import TurnkeeperError

    sys.dont_write_bytecode = True
    factory = None
    # its workers tell what is wrong with the module, and go on when that is mended; this does without it
    with contextlib.suppress(Exception, SystemExit):
        factory = load_app(module).session_factory
    try:
        return serve(
            AsyncClient(session_factory=factory),
            Handed(int(descriptor)),
            auth="none",
            loglevel="warning",
            grace=GRACE_SECONDS,
            dress=add_pages,
            on_start=lambda url: print(f"{API_READY}{url}", flush=True),  # noqa: T201 - to the supervisor
        )
    except TurnkeeperError as error:
        sys.stderr.write(f"turnkeeper: {error}\n")
        return FAILED


def _hold_lifeline() -> None:
    line = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with, args=(line,), name="turnkeeper-lifeline", daemon=True).start()


def _end_with(line: int) -> None:
    while os.read(line, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(LAST_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
