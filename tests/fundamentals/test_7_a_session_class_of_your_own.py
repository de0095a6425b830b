"""7. A session class of one's own: four methods, and workers use it in place of the database's."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.items import Item
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool


class FileSession:
    """A history in a file, one item a line."""

    def __init__(self, session_id: str, folder: Path) -> None:
        self.session_id = session_id
        self._file = folder / f"{session_id}.jsonl"

    async def get_items(self, limit: int | None = None) -> list[Item]:
        items: list[Item] = [json.loads(line) for line in self._lines()]
        return items if limit is None else items[max(0, len(items) - limit) :]

    async def add_items(self, items: list[Item]) -> None:
        self._write([*self._lines(), *(json.dumps(item) for item in items)])

    async def pop_item(self) -> Item | None:
        lines = self._lines()
        if not lines:
            return None
        self._write(lines[:-1])
        popped: Item = json.loads(lines[-1])
        return popped

    async def clear_session(self) -> None:
        self._file.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def _write(self, lines: list[str]) -> None:
        self._file.write_text("".join(f"{line}\n" for line in lines))


@tool
async def order_status(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id} is on its way"


support = Agent(name="support", model="gpt-5.2", tools=[order_status])


async def test_runs_read_and_write_the_users_own_session(migrated_url: str, tmp_path: Path) -> None:
    async with (
        ScriptedModel(text("Hello Ana!"), text("You are Ana.")) as model,
        running_worker(
            migrated_url, model, agents=[support], session_factory=lambda id: FileSession(id, tmp_path)
        ) as worker,
    ):
        for message in ("I am Ana.", "Who am I?"):
            await (await worker.client.enqueue("customer-42", message, agent="support")).wait(timeout=10)

        told = ["I am Ana.", "Hello Ana!", "Who am I?"]
        assert shown(model.requests[1]) == told
        assert texts(await FileSession("customer-42", tmp_path).get_items()) == [*told, "You are Ana."]
        info = await worker.client.session_info("customer-42")
        assert (info.store, info.items) == ("FileSession", 0)


async def test_a_streamed_run_with_tools_stands_once_in_the_users_own_session(
    migrated_url: str, tmp_path: Path
) -> None:
    async with (
        ScriptedModel(calls(("order_status", {"order_id": "7"})), text("It is on its way.")) as model,
        running_worker(
            migrated_url, model, agents=[support], session_factory=lambda id: FileSession(id, tmp_path)
        ) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where is order 7?", agent="support", stream=True)
        await run.wait(timeout=10)

        assert texts(await FileSession("customer-42", tmp_path).get_items()) == [
            "Where is order 7?",
            'order_status({"order_id": "7"})',
            "= order 7 is on its way",
            "It is on its way.",
        ]
