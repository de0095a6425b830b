"""Alerts of the group turnkeeper-workers."""

from __future__ import annotations

from tests.fakes.alerts.series import OTHER, WORKER, Story, buckets, counter
from tests.fakes.promtool import fired

LAG = "turnkeeper_worker_loop_lag_seconds"
STORIES = (
    Story(
        "TurnkeeperProcessDown",
        "a worker does not answer",
        {f"up{{{WORKER}}}": "1x10 0x20", f"up{{{OTHER}}}": "1x30"},
        "5m",
        (
            fired(
                "turnkeeper-worker on 127.0.0.1:9464 does not answer",
                job="turnkeeper-worker",
                instance="127.0.0.1:9464",
            ),
        ),
    ),
    Story(
        "TurnkeeperProcessDown", "a worker is deployed anew", {f"up{{{WORKER}}}": "1x10 0x6 1x20"}, "4m30s"
    ),
    Story(
        "TurnkeeperProcessDown",
        "another program does not answer",
        {'up{job="node",instance="a"}': "0x30"},
        "5m",
    ),
    Story(
        "TurnkeeperProcessDown",
        "Prometheus no longer knows a process",
        {f"up{{{WORKER}}}": "1x10 0x2 stale"},
        "5m",
    ),
    Story(
        "TurnkeeperTakeOvers",
        "four sessions were taken over",
        {counter("worker_takeovers"): "0x40 1 2 3 4x60"},
        "20m10s",
        (fired("4 sessions were taken over from workers that did not give them back"),),
    ),
    Story(
        "TurnkeeperTakeOvers",
        "three sessions were taken over, by two workers",
        {counter("worker_takeovers"): "0x40 2x60", counter("worker_takeovers", OTHER): "0x40 1x60"},
        "20m10s",
    ),
    Story(
        "TurnkeeperTakeOvers",
        "a counter begins anew with its worker",
        {counter("worker_takeovers"): "40x30 stale _x2 0x60"},
        "10m",
    ),
    Story(
        "TurnkeeperTakeOvers",
        "another worker is there for the first time",
        {counter("worker_takeovers"): "40x60", counter("worker_takeovers", OTHER): "_x20 0x40"},
        "10m",
    ),
    Story("TurnkeeperTakeOvers", "no worker was there yet", {}, "10m"),
    Story(
        "TurnkeeperLeaseLosses",
        "a lease was taken",
        {
            counter("worker_lease_losses", reason="taken"): "0x20 1x40",
            counter("worker_lease_losses", reason="unrenewed"): "0x60",
        },
        "8m",
        (
            fired(
                "127.0.0.1:9464 lost leases of sessions in work (taken)",
                instance="127.0.0.1:9464",
                reason="taken",
            ),
        ),
    ),
    Story(
        "TurnkeeperLeaseLosses",
        "a counter begins anew with its worker",
        {counter("worker_lease_losses", reason="taken"): "2x20 stale _x2 0x40"},
        "8m",
    ),
    Story("TurnkeeperLeaseLosses", "no worker was there yet", {}, "8m"),
    Story(
        "TurnkeeperHeartbeatFailures",
        "the database is away for half a minute",
        {counter("worker_heartbeat_failures"): "0x8 1 3x20"},
        "3m",
        (fired("Heartbeats of 127.0.0.1:9464 fail", instance="127.0.0.1:9464"),),
    ),
    Story(
        "TurnkeeperHeartbeatFailures",
        "two heartbeats fail",
        {counter("worker_heartbeat_failures"): "0x20 1 2x20"},
        "8m10s",
    ),
    Story(
        "TurnkeeperHeartbeatFailures",
        "a counter begins anew with its worker",
        {counter("worker_heartbeat_failures"): "5x8 stale _x2 0x20"},
        "4m",
    ),
    Story("TurnkeeperHeartbeatFailures", "no worker was there yet", {}, "4m"),
    Story(
        "TurnkeeperSweepFailures",
        "sweeps fail for ten minutes",
        {counter("worker_sweep_failures"): "0x8 0+1x40"},
        "10m",
        (fired("Sweeps of 127.0.0.1:9464 fail", instance="127.0.0.1:9464"),),
    ),
    Story(
        "TurnkeeperSweepFailures",
        "three sweeps fail",
        {counter("worker_sweep_failures"): "0x30 1 2 3x60"},
        "17m10s",
    ),
    Story(
        "TurnkeeperSweepFailures",
        "a counter begins anew with its worker",
        {counter("worker_sweep_failures"): "9x8 stale _x2 0x40"},
        "9m",
    ),
    Story("TurnkeeperSweepFailures", "no worker was there yet", {}, "9m"),
    Story(
        "TurnkeeperLoopBlocked",
        "a tool blocks for the first time",
        {counter("worker_loop_blocks", tool="block"): "0x8 1x20"},
        "4m",
        (fired("Tool block held up all runs of a worker", tool="block"),),
    ),
    Story(
        "TurnkeeperLoopBlocked",
        "something that is no tool blocks",
        {counter("worker_loop_blocks", tool=""): "0x8 1x20"},
        "4m",
        (fired("Something that is no tool held up all runs of a worker"),),
    ),
    Story(
        "TurnkeeperLoopBlocked",
        "a counter begins anew with its worker",
        {counter("worker_loop_blocks", tool="block"): "3x8 stale _x2 0x20"},
        "5m",
    ),
    Story("TurnkeeperLoopBlocked", "no worker was there yet", {}, "4m"),
    Story(
        "TurnkeeperLoopLag",
        "one answer in ten takes seconds",
        buckets(LAG, WORKER, {"1.0": "0+9x100", "2.5": "0+10x100", "+Inf": "0+10x100"}),
        "21m",
        (fired("The event loop of 127.0.0.1:9464 takes 2.35s to answer", instance="127.0.0.1:9464"),),
    ),
    Story(
        "TurnkeeperLoopLag",
        "answers take half a second",
        buckets(LAG, WORKER, {"0.5": "0+10x100", "1.0": "0+10x100", "+Inf": "0+10x100"}),
        "21m",
    ),
    Story(
        "TurnkeeperLoopLag",
        "a worker begins anew and another is gone",
        {
            **buckets(LAG, WORKER, {"1.0": "0+10x40 stale _x2 0+10x50", "+Inf": "0+10x40 stale _x2 0+10x50"}),
            **buckets(LAG, OTHER, {"1.0": "0+9x20 stale", "+Inf": "0+10x20 stale"}),
        },
        "21m",
    ),
    Story("TurnkeeperLoopLag", "no worker was there yet", {}, "21m"),
)
