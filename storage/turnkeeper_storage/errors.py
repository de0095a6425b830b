"""Every error that Turnkeeper raises on purpose.

    TurnkeeperError
    ├── ConfigurationError            a setting is missing or wrong
    │   └── PoolerBetween             a connection of one's own is needed, and a pooler gives none
    ├── InvalidInput                  a field of a call is wrong: field, value, remedy
    │   ├── UnknownAgent              no worker registered that agent
    │   ├── UnknownStateVersion       a RunState of a version that this code does not know
    │   └── InputTooLarge
    ├── NotFound                      no such run or session for this tenant
    ├── Conflict                      the call lost against what is stored
    │   ├── IdempotencyConflict       a used key with another input
    │   ├── SessionBusy               an edit while a run works in, or is parked in, the session
    │   ├── SessionNotEmpty           a RunState for a session that has runs or items
    │   ├── ApprovalConflict          a decision that came second, too late or too early
    │   ├── ApprovalPending           an enqueue that does not wait behind a parked run
    │   ├── StoreMismatch             the session's items live in another store than the one at hand
    │   ├── SessionChanged            somebody else wrote to the session's store meanwhile
    │   └── NotParked                 the run does not wait for an approval
    ├── QueueFull                     as many runs wait as may; nothing was written
    ├── SchemaMismatch                the database is not migrated, or migrated further than the code
    ├── DatabaseUnavailable           the database did not answer; nothing is known to be written
    ├── StoreUnavailable              a session's store outside the database did not answer
    ├── ApiUnavailable                the HTTP API did not answer; what was asked for may or may not stand
    ├── ApiRefused                    the HTTP API refused a request for another reason, e.g. its key
    ├── WaitTimeout                   `wait` ended before the run did; carries the last snapshot
    ├── LeaseLost                     a worker's write was refused by the fence
    └── RunFailure                    a run cannot go on: code and message, stored in the run

Each error carries what it talks about as attributes, never the content of items.
"""

from __future__ import annotations

from collections.abc import Sequence


class TurnkeeperError(Exception):
    """The root: catch this to catch all of ours."""


class ConfigurationError(TurnkeeperError):
    """A setting is missing or wrong; the text names it and the remedy."""


class PoolerBetween(ConfigurationError):
    """What lasts longer than a transaction is wanted, and the URL leads to a pooler such as PgBouncer."""

    def __init__(self) -> None:
        super().__init__(
            "a pooler such as PgBouncer is between here and the database, and this needs a connection of its "
            "own; set TURNKEEPER_DIRECT_DATABASE_URL to the address of PostgreSQL itself"
        )


class InvalidInput(TurnkeeperError):
    """A field of a call is wrong.

    `field` is its name, `value` a short description that never holds item content, `remedy` what to do.
    """

    def __init__(self, field: str, value: str, remedy: str) -> None:
        super().__init__(f"{field}: {value}; {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


class UnknownAgent(InvalidInput):
    """No worker has registered an agent of this name."""

    def __init__(self, agent: str, known: Sequence[str]) -> None:
        super().__init__(
            "agent",
            f"{agent!r} is not registered by any worker",
            "use one of: " + ", ".join(sorted(known)) if known else "start a worker that has it",
        )
        self.agent = agent
        self.known = tuple(sorted(known))


class UnknownStateVersion(InvalidInput):
    """A RunState was written by code that this code does not know."""

    def __init__(self, version: object, known: Sequence[int]) -> None:
        super().__init__(
            "version",
            f"is {version!r}, known are: {', '.join(map(str, known))}",
            "use the Turnkeeper that wrote it, or a newer one",
        )
        self.version = version
        self.known = tuple(known)


class InputTooLarge(InvalidInput):
    """An input is over the size limit; sizes in bytes of its JSON."""

    def __init__(self, field: str, size: int, limit: int) -> None:
        super().__init__(
            field,
            f"{size:,} bytes are over the limit of {limit:,}",
            "send less, or raise TURNKEEPER_MAX_INPUT_BYTES",
        )
        self.size = size
        self.limit = limit


class NotFound(TurnkeeperError):
    """No such thing for this tenant."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"there is no {kind} {id!r}")
        self.kind = kind
        self.id = id


class Conflict(TurnkeeperError):
    """The call lost against what is stored; the text says against what."""


class IdempotencyConflict(Conflict):
    """The idempotency key is used by a run with another input."""

    def __init__(self, key: str, run_id: str) -> None:
        super().__init__(
            f"idempotency_key {key!r} belongs to run {run_id} with another input; "
            "use a new key for a new request"
        )
        self.key = key
        self.run_id = run_id


class SessionBusy(Conflict):
    """An edit of a session in which a run works or is parked; without a run, it is just being repaired."""

    def __init__(self, session_id: str, run_id: str | None = None, status: str | None = None) -> None:
        what = f"run {run_id} is {status}; wait for it or cancel it"
        if run_id is None:
            what = "somebody else has it just now; try again in a moment"
        super().__init__(f"session {session_id!r} is busy: {what}")
        self.session_id = session_id
        self.run_id = run_id
        self.status = status


class SessionNotEmpty(Conflict):
    """A RunState is put into a session that is new, and this one has runs or items."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} has runs or items already; import into a new session")
        self.session_id = session_id


class StoreMismatch(Conflict):
    """The session's items live in the store `stored`, and what was opened for it is `opened`."""

    def __init__(self, session_id: str, stored: str, opened: str) -> None:
        super().__init__(
            f"session {session_id!r} is kept in store {stored!r}, and this process opened {opened!r}; "
            "give clients and workers the session_factory that the session began with"
        )
        self.session_id = session_id
        self.stored = stored
        self.opened = opened


class SessionChanged(Conflict):
    """The store of the session shows neither what was there before an add, nor what was being added."""

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"the store of session {session_id!r} was changed from outside while items were being added; "
            "look at it, then enqueue anew"
        )
        self.session_id = session_id


class ApprovalConflict(Conflict):
    """A decision lost: `state` says against what.

    `approved`, `rejected`, `expired`, `cancelled`: how it was decided. `not_available`: the call may still be
    at work. `changed`: the arguments are not those that the decision is for. `run_…`: the run has ended.
    """

    def __init__(self, approval_id: str, state: str) -> None:
        remedy = {
            "not_available": "try again when its `available_at` has passed",
            "changed": "read it again and decide on what it says now",
        }.get(state, "nothing is left to decide")
        super().__init__(f"approval {approval_id} is {state.replace('_', ' ')}; {remedy}")
        self.approval_id = approval_id
        self.state = state


class ApprovalPending(Conflict):
    """The session's head waits for approvals, and the enqueue asked not to wait behind it."""

    def __init__(self, session_id: str, run_id: str, approval_ids: Sequence[str]) -> None:
        super().__init__(
            f"session {session_id!r} waits: run {run_id} needs {', '.join(approval_ids) or 'an approval'}; "
            "decide it, or enqueue with on_paused='queue' or 'supersede'"
        )
        self.session_id = session_id
        self.run_id = run_id
        self.approval_ids = tuple(approval_ids)


class NotParked(Conflict):
    """What was asked for works on a run that waits for an approval, or was just decided, only."""

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"run {run_id} is {status} and does not wait for an approval; enqueue a new run instead"
        )
        self.run_id = run_id
        self.status = status


class QueueFull(TurnkeeperError):
    """As many runs of a session, or of a tenant, are queued as may be; nothing was written.

    `scope` is "session" or "tenant", `name` its id, `limit` the number of queued runs.
    """

    def __init__(self, scope: str, name: str, limit: int) -> None:
        super().__init__(
            f"{scope} {name!r} has {limit:,} queued runs, and that is the limit; try again when some have "
            f"ended, or raise TURNKEEPER_MAX_QUEUED_PER_{scope.upper()}"
        )
        self.scope = scope
        self.name = name
        self.limit = limit


class SchemaMismatch(TurnkeeperError):
    """The database's schema is not the one of this code; `found` is None when there is none."""

    def __init__(self, found: str | None, expected: str, remedy: str) -> None:
        at = f"at revision {found}" if found else "not migrated"
        super().__init__(f"the database is {at}, this code needs {expected}; {remedy}")
        self.found = found
        self.expected = expected


class DatabaseUnavailable(TurnkeeperError):
    """The database did not answer. What was asked for may or may not stand: repeat with the same key."""


class StoreUnavailable(TurnkeeperError):
    """A store outside the database did not answer; what was being added may or may not stand.

    `store` is its name, e.g. "redis". The text names the kind of fault, never a URL or an item.
    """

    def __init__(self, store: str, fault: str) -> None:
        super().__init__(
            f"the session store {store!r} did not answer ({fault}); see that it runs, and repeat"
        )
        self.store = store
        self.fault = fault


class ApiUnavailable(TurnkeeperError):
    """The HTTP API did not answer. What was asked for may or may not stand: repeat with the same key.

    The text names the kind of fault, never a URL.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(f"the HTTP API did not answer ({fault}); see that it runs, and repeat")
        self.fault = fault


class ApiRefused(TurnkeeperError):
    """The HTTP API refused a request for a reason that is no other error of ours, e.g. a key without a scope.

    `status` of HTTP; `code` as the API told it, None when something else answered; `request_id`: in its log.
    """

    def __init__(self, status: int, code: str | None, detail: str, request_id: str | None) -> None:
        named = f"{code}: " if code else ""
        super().__init__(f"the HTTP API refused the request ({status}): {named}{detail}")
        self.status = status
        self.code = code
        self.request_id = request_id


class WaitTimeout(TurnkeeperError, TimeoutError):
    """`wait` ended before the run did. `status` is the last one seen; the run goes on."""

    def __init__(self, run_id: str, status: str, timeout: float) -> None:
        super().__init__(
            f"run {run_id} is still {status} after {timeout:g} s; it goes on, wait again or look later"
        )
        self.run_id = run_id
        self.status = status
        self.timeout = timeout


class LeaseLost(TurnkeeperError):
    """The fence refused a write: another worker has, or may have, the session."""

    def __init__(self, session_key: str, epoch: int) -> None:
        super().__init__(f"the lease of epoch {epoch} on session {session_key} is gone; nothing was written")
        self.session_key = session_key
        self.epoch = epoch


class RunFailure(TurnkeeperError):
    """A run cannot go on. `code` is stable and for programs, `message` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
