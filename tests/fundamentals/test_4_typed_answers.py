"""4. An answer can be held to a type."""

from __future__ import annotations

from pydantic import BaseModel

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.worker import running_worker
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent


class Verdict(BaseModel):
    """What the judge says."""

    refund: bool
    amount: float


judge = Agent(name="judge", model="gpt-5.2", output_type=Verdict)


async def test_the_output_is_json_of_the_agents_type(migrated_url: str) -> None:
    async with (
        ScriptedModel(text('{"refund": true, "amount": 12.5}')) as model,
        running_worker(migrated_url, model, agents=[judge]) as worker,
    ):
        run = await worker.client.enqueue("case-1", "The parcel was empty.", agent="judge")
        done = await run.wait(timeout=10)

        assert Verdict.model_validate(done.output) == Verdict(refund=True, amount=12.5)
        assert model.requests[0]["text"]["format"]["schema"]["required"] == ["refund", "amount"]


async def test_an_answer_that_does_not_fit_fails_the_run(migrated_url: str) -> None:
    async with (
        ScriptedModel(text('{"refund": "perhaps"}')) as model,
        running_worker(migrated_url, model, agents=[judge]) as worker,
    ):
        run = await worker.client.enqueue("case-1", "The parcel was empty.", agent="judge")
        done = await run.wait(timeout=10)

        assert done.status is RunStatus.FAILED
        assert done.error is not None
        assert done.error.code == "output_invalid"
        assert "perhaps" not in done.error.message
