"""`python -m turnkeeper.practice`: the practice model as a process of its own."""

from __future__ import annotations

import argparse
import asyncio

from turnkeeper.practice.local_server import serve_until_signalled
from turnkeeper.practice.server import PracticeServer


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; the first line on standard output is the base URL."""
    parser = argparse.ArgumentParser(
        prog="python -m turnkeeper.practice",
        description="A local model server that follows rules. It is no AI, and says so.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="of each answer")
    parser.add_argument(
        "--pace", type=float, default=0.0, metavar="SECONDS", help="before each piece of a streamed answer"
    )
    parser.add_argument("--require-key", metavar="KEY", help="refuse every other API key")
    options = parser.parse_args(argv)
    server = PracticeServer(
        host=options.host,
        port=options.port,
        latency=options.latency,
        pace=options.pace,
        require_key=options.require_key,
    )
    asyncio.run(serve_until_signalled(server))


if __name__ == "__main__":
    main()
