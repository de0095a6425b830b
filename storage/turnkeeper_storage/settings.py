"""The one reader of the environment: `TURNKEEPER_*`, and `OPENAI_*` for the model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from turnkeeper_storage.admission import MAX_SECONDS, QueueLimits
from turnkeeper_storage.errors import ConfigurationError


class Settings(BaseSettings):
    """All settings, frozen. Seconds are floats, sizes are bytes."""

    model_config = SettingsConfigDict(
        env_prefix="TURNKEEPER_", frozen=True, extra="forbid", populate_by_name=True
    )

    # where things are
    database_url: str = Field(default="sqlite:///turnkeeper.db", description="postgresql://… or sqlite:///…")
    direct_database_url: str | None = Field(
        default=None,
        description="PostgreSQL itself, behind the pooler of database_url: for migrations and workers' locks",
    )
    db_schema: str | None = Field(default=None, description="PostgreSQL schema of our tables")
    broker_url: str = Field(default="redis://127.0.0.1:6379/0", description="Celery's broker")
    redis_url: str | None = Field(
        default=None, description="live notifications; default: the broker if it is Redis"
    )
    redis_prefix: str = Field(default="turnkeeper", min_length=1, description="of our keys and channels")
    queue: str = Field(
        default="turnkeeper", min_length=1, description="queue of wake-ups; ingest jobs use QUEUE.ingest"
    )
    tenant: str = Field(default="default", min_length=1, max_length=255)
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of authorities that https:// trusts beside the system's",
    )

    # leases and the loops around them (PROTOCOL 2.3, 2.8, 2.10, 2.11, 2.15)
    lease_seconds: float = Field(default=30.0, gt=0)
    heartbeat_seconds: float = Field(default=10.0, gt=0)
    sweep_seconds: float = Field(default=5.0, gt=0)
    fast_recovery: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="take the sessions of a worker that died before its leases end (PostgreSQL)",
    )
    recovery_seconds: float = Field(default=1.0, gt=0, description="between two looks for workers that died")
    drain_runs: int = Field(default=20, ge=1)
    drain_seconds: float = Field(default=60.0, gt=0)
    grace_seconds: float = Field(default=30.0, gt=0, description="from SIGTERM to the end of the worker")
    agent_grace_seconds: float = Field(
        default=60.0, ge=0, description="how long a run waits for a worker with its agent"
    )
    crash_limit: int = Field(default=3, ge=1)

    # limits of one run
    run_deadline_seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_SECONDS,
        description="from acceptance to the end of a run that says nothing itself; None: as long as it takes",
    )

    # sizes
    concurrency: int = Field(default=1000, ge=1, description="runs in flight per worker process")
    tool_threads: int = Field(default=32, ge=1, description="threads for synchronous tools per process")
    pool_size: int = Field(default=10, ge=1, description="database connections per process")
    max_input_bytes: int = Field(default=1_048_576, ge=1)
    max_output_bytes: int = Field(default=1_048_576, ge=1, description="of one tool output or one turn")
    max_state_bytes: int = Field(
        default=16_777_216, ge=1, description="of what is stored of a run in work: merged input and turns"
    )
    max_turns: int = Field(default=10, ge=1)
    max_queued_per_session: int | None = Field(
        default=1000, ge=1, description="runs of one session that wait in its queue; none: no limit"
    )
    max_queued_per_tenant: int | None = Field(
        default=None, ge=1, description="runs of one tenant that wait in all of its queues; None: no limit"
    )
    watchdog_seconds: float | None = Field(
        default=5.0, gt=0, description="how long the event loop may not answer until it is told; none: never"
    )

    # approvals (PROTOCOL 2.7)
    approval_timeout: float | None = Field(
        default=None, gt=0, description="seconds until an undecided approval is a rejection; None: never"
    )
    accept_decisions: bool = Field(
        default=False, description="take decisions from jobs in the broker, as whoever can write to it sends"
    )

    # the life of sessions
    session_retention_seconds: float | None = Field(
        default=None,
        gt=0,
        description="how long after its last change a session is deleted, unless it says so itself",
    )

    audit_retention_seconds: float | None = Field(
        default=None,
        gt=0,
        description="how long the audit keeps who edited, deleted or erased a session; None: for ever",
    )

    # live deltas of streamed runs
    delta_maxlen: int = Field(default=10_000, ge=1, description="deltas kept per run, about")
    delta_ttl_seconds: float = Field(default=3600.0, gt=0, description="how long after its last delta")
    delta_coalesce_ms: float = Field(default=5.0, ge=0, description="between two sendings of a process")

    # what is seen from outside
    log_format: Literal["text", "json"] = Field(
        default="text", description="of the lines of worker and api: for people, or one JSON object each"
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="of worker and api, unless --loglevel says so"
    )
    trace_content: bool = Field(
        default=False, description="spans hold messages, arguments and outputs: what runs are about"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="collector that worker and api send traces and metrics to",
    )
    otlp_traces_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", description="traces alone"
    )
    otlp_metrics_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", description="metrics alone"
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535, description="where worker and api answer Prometheus; None: nowhere"
    )
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1, description="address of that; 0.0.0.0: whoever reaches the port"
    )

    # the HTTP API
    api_max_body_bytes: int = Field(default=4_194_304, ge=1, description="of one request")
    api_body_seconds: float = Field(default=10.0, gt=0, description="until the body of a request is there")
    api_wait_seconds: float = Field(default=60.0, gt=0, description="how long one request may wait for a run")
    api_heartbeat_seconds: float = Field(
        default=15.0, gt=0, description="between two signs of life of a stream"
    )
    api_send_seconds: float = Field(
        default=30.0, gt=0, description="how long a reader of a stream may take nothing, then it is dropped"
    )
    api_stream_seconds: float = Field(
        default=3600.0, gt=0, description="how long one stream lasts; its reader comes back for the rest"
    )
    api_key: SecretStr | None = Field(default=None, description="what a client of the HTTP API sends")
    api_max_streams: int = Field(default=2000, ge=1, description="streams and waits at once per process")

    # the model
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    model_api: Literal["responses", "chat_completions"] = Field(
        default="responses", description="what the model server speaks"
    )
    model_timeout: float = Field(default=600.0, gt=0, description="of one model call")
    model_retries: int = Field(default=4, ge=0, description="further attempts of one model call")
    publish_timeout: float = Field(default=1.0, gt=0)

    @field_validator("max_queued_per_session", "watchdog_seconds", "metrics_port", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        # in the environment, and where None means not given
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.heartbeat_seconds > self.lease_seconds / 2:
            raise ValueError("heartbeat_seconds must be at most half of lease_seconds")
        return self

    @property
    def direct_url(self) -> str:
        """The database without a pooler between, for what lasts longer than a transaction."""
        return self.direct_database_url or self.database_url

    @property
    def live_url(self) -> str | None:
        """The Redis of live events; None when there is none, and readers poll."""
        url = self.redis_url or self.broker_url.split(";")[0]
        return url if url.startswith(("redis://", "rediss://", "unix://")) else None

    @property
    def queue_limits(self) -> QueueLimits:
        """How many runs may wait."""
        return QueueLimits(self.max_queued_per_session, self.max_queued_per_tenant)

    @property
    def ingest_queue(self) -> str:
        """Queue of jobs that carry truth."""
        return f"{self.queue}.ingest"


def load_settings(**given: object) -> Settings:
    """Settings from the environment, with what is given on top (None means not given).

    Raises ConfigurationError that names the setting and the remedy.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(_explain(fault) for fault in error.errors())) from None


def _explain(fault: ErrorDetails) -> str:
    # The value may be a URL with a password: name the setting and the rule, never the value.
    names = [str(part) for part in fault["loc"]]
    setting = "_".join(names).upper() if names else ""
    if setting and not setting.startswith(("OPENAI_", "OTEL_")):
        setting = f"TURNKEEPER_{setting}"
    return f"{setting}: {fault['msg']}" if setting else str(fault["msg"])
