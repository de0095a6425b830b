"""Where an Alertmanager tells what it was told: the alerts of each path, as they came."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Webhooks:
    """A receiver on a port of the loopback."""

    def __init__(self) -> None:
        self._heard: list[tuple[str, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def heard(self, path: str, alert: str, status: str = "firing") -> dict[str, Any] | None:
        """The alert as it came at that path; None when none did."""
        for at, told in list(self._heard):
            if (at, told["labels"]["alertname"], told["status"]) == (path, alert, status):
                return told
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        heard = self._heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                heard.extend((self.path, told) for told in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
