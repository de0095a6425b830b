"""Alerts of the group turnkeeper-work."""

from __future__ import annotations

from tests.fakes.alerts.series import OTHER, WORKER, Story, ended, gauge
from tests.fakes.promtool import fired

QUEUE_AGE = gauge("cluster_queue_age_seconds")
APPROVAL = gauge("cluster_oldest_approval_seconds")
SLOTS, IN_FLIGHT = gauge("worker_slots", WORKER), gauge("worker_in_flight", WORKER)
STORIES = (
    Story(
        "TurnkeeperQueueAge",
        "sessions wait for more than a minute",
        {QUEUE_AGE: "0x4 90x20"},
        "4m",
        (fired("Sessions wait 1m 30s for a worker"),),
    ),
    Story(
        "TurnkeeperQueueAge", "a rush is over within a minute", {QUEUE_AGE: "0x4 15 30 45 58 10 0x20"}, "4m"
    ),
    Story("TurnkeeperQueueAge", "all workers are deployed anew at once", {QUEUE_AGE: "0x4 70x5 0x20"}, "3m"),
    Story("TurnkeeperQueueAge", "nothing was asked yet", {}, "4m"),
    Story("TurnkeeperNoWorkers", "none was ever there", {}, "2m", (fired("No worker answers"),)),
    Story(
        "TurnkeeperNoWorkers",
        "the last one is gone",
        {SLOTS: "20x20 stale"},
        "8m",
        (fired("No worker answers"),),
    ),
    Story(
        "TurnkeeperNoWorkers",
        "one is gone and another there",
        {SLOTS: "20x20 stale", gauge("worker_slots", OTHER): "20x60"},
        "10m",
    ),
    Story("TurnkeeperNoWorkers", "the only one is deployed anew", {SLOTS: "20x20 stale _x5 20x20"}, "7m"),
    Story("TurnkeeperNoWorkers", "Prometheus has just been started", {}, "1m"),
    Story(
        "TurnkeeperSlotsFull",
        "all slots are taken for a quarter of an hour",
        {SLOTS: "20x80", IN_FLIGHT: "19x80"},
        "15m",
        (fired("95% of all slots are in use"),),
    ),
    Story(
        "TurnkeeperSlotsFull",
        "one worker is full and another idle",
        {
            SLOTS: "20x80",
            IN_FLIGHT: "20x80",
            gauge("worker_slots", OTHER): "20x80",
            gauge("worker_in_flight", OTHER): "0x80",
        },
        "15m",
    ),
    Story(
        "TurnkeeperSlotsFull", "a rush lasts five minutes", {SLOTS: "20x80", IN_FLIGHT: "20x20 3x60"}, "11m"
    ),
    Story("TurnkeeperSlotsFull", "a worker has no slots yet", {SLOTS: "0x80", IN_FLIGHT: "0x80"}, "15m"),
    Story(
        "TurnkeeperRunsFail",
        "a fifth of many runs fails",
        {ended("support"): "0+4x120", ended("support", status="failed", code="tool_failed"): "0+1x120"},
        "30m",
        (fired("20% of the runs fail"),),
    ),
    Story(
        "TurnkeeperRunsFail",
        "some of a few runs fail",
        {
            ended("support"): "0x10 1x50 2x60",
            ended("support", status="failed", code="tool_failed"): "0+0.1x120",
        },
        "30m",
    ),
    Story(
        "TurnkeeperRunsFail",
        "people cancel runs",
        {
            ended("support"): "0+4x120",
            ended("support", status="cancelled"): "0+4x120",
            ended("support", status="failed", code="poisoned"): "0x120",
        },
        "30m",
    ),
    Story(
        "TurnkeeperRunsFail",
        "counters begin anew with a worker",
        {ended("support"): "0+4x60 0+4x60", ended("support", status="failed", code="x"): "3x60 0x60"},
        "30m",
    ),
    Story("TurnkeeperRunsFail", "no run has ended yet", {}, "30m"),
    Story(
        "TurnkeeperPoisonedRun",
        "the first one since the worker began",
        {ended("support", status="failed", code="poisoned"): "0x20 1x40"},
        "10m",
        (fired("A run of agent support crashed its workers each time", agent="support"),),
    ),
    Story(
        "TurnkeeperPoisonedRun",
        "the worker begins anew where its counter was",
        {ended("support", status="failed", code="poisoned"): "0x20 stale _x3 0x40"},
        "10m",
    ),
    Story(
        "TurnkeeperPoisonedRun",
        "it was half an hour ago",
        {ended("support", status="failed", code="poisoned"): "0x20 1x140"},
        "36m",
    ),
    Story(
        "TurnkeeperPoisonedRun",
        "runs fail for other reasons",
        {ended("support", status="failed", code="tool_failed"): "0+1x40"},
        "10m",
    ),
    Story(
        "TurnkeeperApprovalsWait",
        "one has waited for more than a day",
        {APPROVAL: "90000+15x160"},
        "35m",
        (fired("An approval has waited 1d 1h 35m 0s"),),
    ),
    Story("TurnkeeperApprovalsWait", "one has waited for some hours", {APPROVAL: "20000+15x160"}, "35m"),
    Story("TurnkeeperApprovalsWait", "it is decided after a day", {APPROVAL: "86300+15x40 0x120"}, "35m"),
    Story("TurnkeeperApprovalsWait", "nothing was asked yet", {}, "35m"),
)
