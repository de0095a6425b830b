"""The HTTP API as a process: for `turnkeeper api` and `turnkeeper dev`.

The parts: `main` (the server), `letting_in` (which way of authentication is meant), `pages` (what a browser
is shown by `turnkeeper dev`).
"""
