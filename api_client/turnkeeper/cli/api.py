"""`turnkeeper api`: serve the HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from turnkeeper.cli.options import BrokerUrl, Common, DatabaseUrl

LogLevel = Literal["debug", "info", "warning", "error", "critical"]


def api(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65_535, help="0: any that is free.")] = 8700,
    auth: Annotated[
        str,
        typer.Option(
            metavar="keys|none|MODULE:ATTRIBUTE",
            help="Who may come in: holders of API keys; whoever is on the loopback; as your dependency says.",
        ),
    ] = "keys",
    agents: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE[:ATTRIBUTE]",
            help="Use the settings, the broker and the session_factory of this Turnkeeper instance.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    ssl_certfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Serve https with this certificate chain (PEM).", show_default=False
        ),
    ] = None,
    ssl_keyfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The certificate's key, where it has a file of its own.", show_default=False
        ),
    ] = None,
    loglevel: Annotated[
        LogLevel | None,
        typer.Option(
            help="How much to log; default: TURNKEEPER_LOG_LEVEL.", case_sensitive=False, show_default=False
        ),
    ] = None,
) -> None:
    """Serve the HTTP API until SIGTERM or SIGINT. Keys: turnkeeper keys create."""
    from turnkeeper.serving.certificate import certificate_of
    from turnkeeper.serving.main import Place, serve
    from turnkeeper.telemetry.collecting import collecting
    from turnkeeper.telemetry.logs import begin_server, tell_metrics

    certificate = certificate_of(ssl_certfile, ssl_keyfile)
    client = Common(database_url, broker_url, None, agents).async_client()
    settings = client.settings
    level = loglevel or settings.log_level
    begin_server(settings.log_format, level)
    with collecting(settings, "turnkeeper-api", cluster=True) as url:
        code = serve(
            client,
            Place(host, port),
            auth=auth,
            loglevel=level,
            certificate=certificate,
            on_start=lambda _: tell_metrics(url),
        )
    raise typer.Exit(code)
