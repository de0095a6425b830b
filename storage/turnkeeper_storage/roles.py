"""Which roles of PostgreSQL may do what with our tables: as little as each kind of process needs.

Four roles, named after a prefix: `_migrate` owns the tables, `_worker` works, `_web` serves clients and the
HTTP API, `_operator` does what is `_web`'s, and makes keys, erases, and puts parked runs in. SQL out, nothing
executed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy.dialects import postgresql

from turnkeeper_storage.tables import metadata

ROLES = ("migrate", "worker", "web", "operator")
# Alembic's, which is no table of our metadata: only its owner writes there
VERSIONS = "turnkeeper_alembic_version"
_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role may do with one table. `update`: all columns, or these."""

    read: bool = True
    insert: bool = False
    update: bool | tuple[str, ...] = field(default=())
    delete: bool = False

    def words(self) -> str:
        """As GRANT wants them; empty for none."""
        columns = "" if isinstance(self.update, bool) else ", ".join(map(_quote, self.update))
        said = (
            ("SELECT", self.read),
            ("INSERT", self.insert),
            ("UPDATE", self.update is True),
            (f"UPDATE ({columns})", bool(columns)),
            ("DELETE", self.delete),
        )
        return ", ".join(word for word, is_given in said if is_given)


READ = Rights()
NOTHING = Rights(read=False)
ALL = Rights(insert=True, update=True, delete=True)
# what a decision, a cancel or an expiry changes of a run that waits
_OF_A_WAITING_RUN = (
    "status",
    "cancel_requested",
    "sticky",
    "error",
    "usage",
    "merged_input",
    "next_event",
    "finished_at",
)
_OF_A_DECISION = (
    "status",
    "decided_by",
    "decided_at",
    "note",
    "edited_arguments",
    "outcome",
    "sticky",
)

_WORKER: Mapping[str, Rights] = {
    "turnkeeper_sessions": ALL,
    "turnkeeper_runs": ALL,
    # append only: what stands in a history is never rewritten
    "turnkeeper_session_items": Rights(insert=True, delete=True),
    "turnkeeper_boundaries": ALL,
    "turnkeeper_turns": Rights(insert=True, delete=True),
    "turnkeeper_tool_calls": ALL,
    "turnkeeper_approvals": Rights(insert=True, update=_OF_A_DECISION, delete=True),
    "turnkeeper_run_events": Rights(insert=True, delete=True),
    "turnkeeper_agents": Rights(insert=True, update=True),
    "turnkeeper_workers": ALL,
    # deletes what the audit's retention says
    "turnkeeper_session_edits": Rights(insert=True, delete=True),
    "turnkeeper_conversations": ALL,
    "turnkeeper_api_keys": NOTHING,
    "turnkeeper_compatibility": READ,
}
_WEB: Mapping[str, Rights] = {
    # also the lease: whoever deletes a session takes it first
    "turnkeeper_sessions": ALL,
    "turnkeeper_runs": Rights(insert=True, update=_OF_A_WAITING_RUN, delete=True),
    "turnkeeper_session_items": Rights(insert=True, delete=True),
    "turnkeeper_boundaries": Rights(delete=True),
    # of a turn, what a caller adds to a parked run
    "turnkeeper_turns": Rights(update=("added",), delete=True),
    "turnkeeper_tool_calls": Rights(
        update=("status", "output", "ended_at", "arguments", "arguments_digest"), delete=True
    ),
    "turnkeeper_approvals": Rights(update=_OF_A_DECISION, delete=True),
    "turnkeeper_run_events": Rights(insert=True, delete=True),
    "turnkeeper_agents": READ,
    "turnkeeper_workers": READ,
    "turnkeeper_session_edits": Rights(insert=True),
    "turnkeeper_conversations": ALL,
    "turnkeeper_api_keys": Rights(update=("last_used_at",)),
    "turnkeeper_compatibility": READ,
}
_OPERATOR: Mapping[str, Rights] = {
    **_WEB,
    # to erase a person
    "turnkeeper_session_edits": Rights(insert=True, delete=True),
    # to put a parked run in
    "turnkeeper_boundaries": Rights(insert=True, delete=True),
    "turnkeeper_turns": Rights(insert=True, update=("added",), delete=True),
    "turnkeeper_tool_calls": Rights(
        insert=True, update=("status", "output", "ended_at", "arguments", "arguments_digest"), delete=True
    ),
    "turnkeeper_approvals": Rights(insert=True, update=_OF_A_DECISION, delete=True),
    "turnkeeper_api_keys": Rights(insert=True, update=("last_used_at", "revoked_at"), delete=True),
}
RIGHTS: Mapping[str, Mapping[str, Rights]] = {"worker": _WORKER, "web": _WEB, "operator": _OPERATOR}


def role_name(prefix: str, kind: str) -> str:
    """The name of the role of this kind."""
    return f"{prefix}_{kind}"


def creation(prefix: str, schema: str, database: str) -> list[str]:
    """Statements for a superuser, once: the roles, the schema, and the tables that stand there already.

    The roles can log in and have no password: that is set apart. Safe to repeat.
    """
    owner = _quote(role_name(prefix, "migrate"))
    others = [_quote(role_name(prefix, kind)) for kind in ROLES[1:]]
    place = _quote(schema)
    made = [_made(role_name(prefix, kind)) for kind in ROLES]
    return [
        *made,
        f"GRANT CONNECT ON DATABASE {_quote(database)} TO {', '.join([owner, *others])}",
        f"CREATE SCHEMA IF NOT EXISTS {place}",
        f"REVOKE CREATE ON SCHEMA {place} FROM PUBLIC",
        f"GRANT USAGE, CREATE ON SCHEMA {place} TO {owner}",
        f"GRANT USAGE ON SCHEMA {place} TO {', '.join(others)}",
        _given_away(schema, role_name(prefix, "migrate")),
    ]


def grants(prefix: str, schema: str) -> list[str]:
    """Statements for the owner, after each migration: the rights of the other roles, and no more."""
    return [
        statement
        for kind, rights in RIGHTS.items()
        for statement in _granted(_quote(role_name(prefix, kind)), schema, rights)
    ]


def _granted(role: str, schema: str, rights: Mapping[str, Rights]) -> Iterator[str]:
    for table in metadata.sorted_tables:
        name = f"{_quote(schema)}.{_quote(table.name)}"
        yield f"REVOKE ALL ON TABLE {name} FROM {role}"
        words = rights[table.name].words()
        if words:
            yield f"GRANT {words} ON TABLE {name} TO {role}"
    yield f"GRANT SELECT ON TABLE {_quote(schema)}.{_quote(VERSIONS)} TO {role}"


def _made(role: str) -> str:
    text = role.replace("'", "''")
    return (
        f"DO $turnkeeper$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{text}') "
        f"THEN CREATE ROLE {_quote(role)} LOGIN; END IF; END $turnkeeper$"
    )


def _given_away(schema: str, owner: str) -> str:
    place, to = schema.replace("'", "''"), owner.replace("'", "''")
    tables = f"SELECT tablename FROM pg_tables WHERE schemaname = '{place}'"  # noqa: S608 - quoted, and printed
    return (
        f"DO $turnkeeper$ DECLARE found text; BEGIN FOR found IN {tables} "
        "AND tablename LIKE 'turnkeeper\\_%' LOOP "
        f"EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', '{place}', found, '{to}'); "
        "END LOOP; END $turnkeeper$"
    )
