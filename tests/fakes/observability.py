"""Reads deploy/observability: the dashboard, the alerts, and the expressions in them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

FOLDER = Path(__file__).parents[2] / "deploy/observability"
# what Grafana puts in
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m", "$job": ".*", "$instance": ".*"}


@cache
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return found


@cache
def rules() -> list[dict[str, Any]]:
    """All rules of all groups."""
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels but for its rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Where each expression stands, and the expression with Grafana's variables filled in."""
    shown = [(f"panel {p['title']}", target["expr"]) for p in panels() for target in p["targets"]]
    return [(where, filled(text)) for where, text in [*shown, *((r["alert"], r["expr"]) for r in rules())]]


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression asks for. Raises ValueError for one that Prometheus would refuse."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(str(node.name))

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return found


def names_on(page: str) -> set[str]:
    """The names of all series on a page for Prometheus."""
    return set(re.findall(r"^([a-zA-Z_:][\w:]*)[{ ]", page, re.MULTILINE))


def measured(rule: str) -> list[str]:
    """What a rule compares with its bounds: expressions that have a value while nothing is wrong, too."""
    found: list[str] = []

    def look(node: Any) -> None:
        if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) in "+-*/":
            found.append(str(node))
        elif str(node.op) in ("and", "or"):
            look(node.lhs)
            look(node.rhs)
        else:  # a bound, or what is left out
            look(node.lhs)

    look(promql_parser.parse(rule))
    return found
