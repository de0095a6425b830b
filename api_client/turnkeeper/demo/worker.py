"""`python -m turnkeeper.demo.worker`: `turnkeeper worker turnkeeper.demo.agents`, wherever the command is."""

from __future__ import annotations

import sys

from turnkeeper.cli.main import run

if __name__ == "__main__":
    sys.exit(run(["worker", "turnkeeper.demo.agents"]))
