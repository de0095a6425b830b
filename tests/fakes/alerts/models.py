"""Alerts of the group turnkeeper-models."""

from __future__ import annotations

from tests.fakes.alerts.series import WORKER, Story, asked, buckets, called
from tests.fakes.promtool import fired

MODEL_SECONDS = "gen_ai_client_operation_duration_seconds"
MODEL = f'{WORKER},gen_ai_request_model="gpt-5.2"'
STORIES = (
    Story(
        "TurnkeeperModelErrors",
        "a third of many calls fails",
        {asked(): "0+2x100", asked("model_unavailable"): "0+1x100"},
        "22m",
        (fired("33.33% of the calls of gpt-5.2 fail", gen_ai_request_model="gpt-5.2"),),
    ),
    Story(
        "TurnkeeperModelErrors",
        "one run at night tries five times and fails",
        {asked(): "40x100", asked("model_unavailable"): "0x10 1 2 2 3 3 3 3 4 4 4 4 4 4 5x90"},
        "14m",
    ),
    Story(
        "TurnkeeperModelErrors",
        "a deploy and people cancel calls",
        {asked(): "0+2x100", asked("cancelled"): "0+2x100"},
        "22m",
    ),
    Story(
        "TurnkeeperModelErrors",
        "counters begin anew with a worker",
        {asked(): "0+2x50 0+2x50", asked("model_timeout"): "9x50 0x50"},
        "22m",
    ),
    Story("TurnkeeperModelErrors", "no model was asked yet", {}, "22m"),
    Story(
        "TurnkeeperModelSlow",
        "a tenth of the calls takes minutes",
        {
            **buckets(
                MODEL_SECONDS,
                MODEL,
                {"60.0": "0+9x130", "120.0": "0+9x130", "300.0": "0+10x130", "+Inf": "0+10x130"},
            ),
            asked(): "0+10x130",
        },
        "31m",
        (fired("One call in twenty of gpt-5.2 takes 3m 30s", gen_ai_request_model="gpt-5.2"),),
    ),
    Story(
        "TurnkeeperModelSlow",
        "a single call at night takes minutes",
        {
            **buckets(MODEL_SECONDS, MODEL, {"120.0": "0x130", "300.0": "0x10 1x120", "+Inf": "0x10 1x120"}),
            asked(): "0x10 1x120",
        },
        "17m20s",
    ),
    Story(
        "TurnkeeperModelSlow",
        "calls take a minute",
        {
            **buckets(MODEL_SECONDS, MODEL, {"60.0": "0+9x130", "120.0": "0+10x130", "+Inf": "0+10x130"}),
            asked(): "0+10x130",
        },
        "31m",
    ),
    Story(
        "TurnkeeperModelSlow",
        "nothing is asked",
        {**buckets(MODEL_SECONDS, MODEL, {"120.0": "7x130", "+Inf": "9x130"}), asked(): "9x130"},
        "31m",
    ),
    Story(
        "TurnkeeperToolErrors",
        "two thirds of the calls of a tool fail",
        {called(): "0+1x130", called("tool_failed"): "0+2x130"},
        "31m",
        (fired("66.67% of the calls of tool look fail", gen_ai_tool_name="look"),),
    ),
    Story(
        "TurnkeeperToolErrors",
        "a deploy and people cancel calls",
        {called(): "0+1x130", called("cancelled"): "0+3x130"},
        "31m",
    ),
    Story(
        "TurnkeeperToolErrors",
        "a tool that is seldom called fails twice",
        {called(): "3x130", called("tool_failed"): "0x10 1x40 2x90"},
        "20m",
    ),
    Story(
        "TurnkeeperToolErrors",
        "a few of many calls fail",
        {called(): "0+3x130", called("tool_failed"): "0+1x130"},
        "31m",
    ),
    Story("TurnkeeperToolErrors", "no tool was called yet", {}, "31m"),
)
