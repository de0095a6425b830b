"""`python -m turnkeeper`: the command line, wherever the command is."""

from __future__ import annotations

from turnkeeper.cli.main import main

if __name__ == "__main__":
    main()
