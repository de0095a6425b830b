"""How PostgreSQL goes about the statements of this process: each is explained just before it is executed.

    with explained() as plans:
        …                       # verbs, on any engine
    plans.worst()

The real statement, with its real parameters, in its real transaction; what explaining it wrote is rolled
back. Twice: as the server plans for these parameters, with what it really read, and as it plans once for all
parameters (drivers prepare, and after some executions that is the plan).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine, event

from tests.fakes.counting import current_verb, named
from turnkeeper_storage.fixed_statements import FixedStatements

# tables that stay small, whatever there is to do
SMALL = frozenset({"turnkeeper_agents", "turnkeeper_compatibility", "turnkeeper_alembic_version"})
_PARAMETER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """How one statement is planned. `read` counts the rows that it looked at, `buffers` pages of 8 kB."""

    verb: str
    statement: str
    own: dict[str, Any]
    generic: dict[str, Any]

    @property
    def read(self) -> int:
        return round(sum(_rows_of(node) for node in nodes(self.own) if "Relation Name" in node))

    @property
    def buffers(self) -> int:
        return int(self.own.get("Shared Hit Blocks", 0) + self.own.get("Shared Read Blocks", 0))

    @property
    def cost(self) -> float:
        """In the planner's units."""
        return float(self.own["Total Cost"])

    @property
    def table(self) -> str:
        """The first table that it names, without our prefix."""
        found = re.search(r"turnkeeper_(\w+)", self.statement.split(" FROM ", 1)[-1])
        return found[1] if found else ""

    @property
    def whole_scans(self) -> list[str]:
        """Big tables of which all is read, in either plan."""
        return [
            str(node["Relation Name"])
            for plan in (self.own, self.generic)
            for node in nodes(plan)
            if "Seq Scan" in node["Node Type"] and node["Relation Name"] not in SMALL
        ]

    @property
    def whole_indexes(self) -> list[str]:
        """Indexes that are read without a condition, from one end on, in either plan."""
        plans = (self.own, self.generic)
        scans = [node for plan in plans for node in nodes(plan) if "Index Name" in node]
        return sorted({str(node["Index Name"]) for node in scans if "Index Cond" not in node})

    @property
    def sorted_rows(self) -> int:
        """How many rows the largest sort took, 0 without one."""
        sorts = [node for node in nodes(self.own) if "Sort" in node["Node Type"]]
        return max((round(child["Actual Rows"]) for sort in sorts for child in sort["Plans"]), default=0)

    @property
    def given(self) -> int:
        """How many rows it gives, or writes."""
        top = self.own
        if top["Node Type"] in ("ModifyTable", "LockRows") and not top["Actual Rows"]:
            top = top["Plans"][0]
        return round(float(top["Actual Rows"]))

    @property
    def wasted(self) -> int:
        """How many rows the largest sort took that it did not give."""
        return max(0, self.sorted_rows - self.given)

    @property
    def indexes(self) -> list[str]:
        return sorted({str(node["Index Name"]) for node in nodes(self.own) if "Index Name" in node})

    def __str__(self) -> str:
        return f"{self.verb}: {' '.join(self.statement.split())}\n" + "\n".join(_lines(self.own, 1))


@dataclass(slots=True)
class Plans:
    """All that were taken, in order."""

    taken: list[Plan] = field(default_factory=list)

    def worst(self) -> list[Plan]:
        """Of each statement of each verb the one that looked at most pages."""
        found: dict[tuple[str, str], Plan] = {}
        for plan in self.taken:
            key = (plan.verb, shape(plan.statement))
            if key not in found or found[key].buffers < plan.buffers:
                found[key] = plan
        return list(found.values())


def shape(statement: str) -> str:
    """A statement without how many values a list of it has."""
    plain = re.sub(r"\$\d+(::[A-Z]+)?( COLLATE \"C\")?", "$", statement)
    plain = re.sub(r"\$(, \$)+", "$", plain)
    return re.sub(r"\(\$\)(, \(\$\))+", "($)", plain)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, the top one first."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def _rows_of(node: dict[str, Any]) -> float:
    removed = sum(float(value) for name, value in node.items() if name.startswith("Rows Removed"))
    return float((node.get("Actual Rows", 0) + removed) * node.get("Actual Loops", 1))


def _lines(node: dict[str, Any], depth: int) -> Iterator[str]:
    place = node.get("Index Name") or node.get("Relation Name") or ""
    conditions = [f"{name}: {node[name]}" for name in ("Index Cond", "Filter", "Sort Key") if name in node]
    yield "  " * depth + f"{node['Node Type']} {place} rows={_rows_of(node):.0f} {'; '.join(conditions)}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


@contextlib.contextmanager
def explained() -> Iterator[Plans]:
    """Explain what this process executes while the block lasts."""
    plans = Plans()
    explaining = False

    def explain(
        connection: Connection, cursor: object, statement: str, parameters: Any, context: object, many: bool
    ) -> None:
        nonlocal explaining
        if explaining or not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement, re.IGNORECASE):
            return
        own, generic = _explain(connection, statement, parameters[0] if many else parameters)
        plans.taken.append(Plan(current_verb(), statement, own, generic))

    with named():
        event.listen(Engine, "before_cursor_execute", explain)
        try:
            # through SQLAlchemy, which tells of each
            with mock.patch.object(FixedStatements, "find", return_value=None):
                yield plans
        finally:
            event.remove(Engine, "before_cursor_execute", explain)


def _explain(
    connection: Connection, statement: str, parameters: Sequence[object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan for these parameters, analyzed, and the one for all; below SQLAlchemy's events."""
    is_alone = getattr(connection.connection.dbapi_connection, "isolation_level", "") == "autocommit"
    begin, undo = ("BEGIN", "ROLLBACK") if is_alone else ("SAVEPOINT explained", "ROLLBACK TO explained")
    count = max((int(number) for number in _PARAMETER.findall(statement)), default=0)
    nulls = f"({', '.join(['NULL'] * count)})" if count else ""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(begin)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        own = cursor.fetchall()[0][0]
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE explained AS {statement}")
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE explained{nulls}")
        generic = cursor.fetchall()[0][0]
        cursor.execute("DEALLOCATE explained")
        cursor.execute(undo)
    finally:
        cursor.close()
    return _plan_in(own), _plan_in(generic)


def _plan_in(told: Any) -> dict[str, Any]:
    loaded = json.loads(told) if isinstance(told, str) else told
    plan: dict[str, Any] = loaded[0]["Plan"]
    return plan
