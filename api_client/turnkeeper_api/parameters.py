"""Parameters that several routes share, as FastAPI reads them and OpenAPI tells of them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Path, Query
from pydantic import AfterValidator

from turnkeeper_api.edge import segment_of
from turnkeeper_client.checks import MAX_PAGE

RunId: TypeAlias = Annotated[str, AfterValidator(segment_of), Path(description="The run's id, run_….")]
ApprovalId: TypeAlias = Annotated[
    str, AfterValidator(segment_of), Path(description="The approval's id, apr_….")
]
SessionId: TypeAlias = Annotated[
    str, AfterValidator(segment_of), Path(description="The session's id; a slash in it is written %2F.")
]
AgentName: TypeAlias = Annotated[str, AfterValidator(segment_of), Path(description="The agent's name.")]
Limit: TypeAlias = Annotated[
    int,
    Query(description="Entries of one page.", json_schema_extra={"minimum": 1, "maximum": MAX_PAGE}),
]
Cursor: TypeAlias = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
OfSession: TypeAlias = Annotated[str | None, Query(description="Only of this session.")]
OfRun: TypeAlias = Annotated[str | None, Query(description="Only of this run.")]
