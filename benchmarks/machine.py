"""The machine and the versions that figures were measured with; no names of hosts or folders."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil
import psycopg
import redis

PACKAGES = (
    "turnkeeper",
    "celery",
    "kombu",
    "openai",
    "SQLAlchemy",
    "asyncpg",
    "redis",
    "aiohttp",
    "openai-agents",
    "dbos",
    "dbos-openai-agents",
)


def describe(postgres: str, redis_url: str) -> dict[str, str]:
    """What a result file says about where it was measured."""
    told = {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "PostgreSQL": _postgres(postgres),
        "Redis": _redis(redis_url),
    }
    for name in PACKAGES:
        try:
            told[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            told[name] = "not installed"
    return told


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _postgres(url: str) -> str:
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute("SHOW server_version").fetchone()
        settings = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "shared_buffers")
        }
    told = ", ".join(f"{name} {value[0]}" for name, value in settings.items() if value)
    return f"{row[0].split(' ')[0] if row else '?'} ({told})"


def _redis(url: str) -> str:
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        return str(client.info("server").get("redis_version"))
