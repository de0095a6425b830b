"""Alerts of the group turnkeeper-surroundings."""

from __future__ import annotations

from tests.fakes.alerts.series import API, Story, counter, gauge, served
from tests.fakes.promtool import fired

UP = gauge("cluster_up")
UNREADABLE = counter("session_unreadable_items", reason="corrupt", store="database")
LEFT_OUT = fired("Items in database cannot be read (corrupt)", reason="corrupt", store="database")

STORIES = (
    Story(
        "TurnkeeperNoFigures",
        "the database does not answer",
        {UP: "1x8 0x20"},
        "5m",
        (fired("Nobody knows how much there is to do"),),
    ),
    Story(
        "TurnkeeperNoFigures",
        "there is no API process",
        {UP: "1x8 stale"},
        "5m",
        (fired("Nobody knows how much there is to do"),),
    ),
    Story(
        "TurnkeeperNoFigures",
        "one of two API processes has lost its database",
        {UP: "0x28", 'turnkeeper_cluster_up{job="turnkeeper-api",instance="b"}': "1x28"},
        "5m",
    ),
    Story("TurnkeeperNoFigures", "the only API process is deployed anew", {UP: "1x8 stale _x5 1x20"}, "4m"),
    Story("TurnkeeperNoFigures", "Prometheus has just been started", {}, "1m"),
    Story(
        "TurnkeeperWakeUpsFail",
        "the broker is away",
        {counter("wakeups_failed", API): "0x8 0+1x60"},
        "10m",
        (fired("Wake-ups cannot be published"),),
    ),
    Story(
        "TurnkeeperWakeUpsFail",
        "the broker is deployed anew",
        {counter("wakeups_failed", API): "0x30 3 5x80"},
        "17m10s",
    ),
    Story(
        "TurnkeeperWakeUpsFail",
        "counters begin anew with their processes",
        {counter("wakeups_failed", API): "30x8 stale _x2 0x60", counter("wakeups_failed"): "0x60"},
        "10m",
    ),
    Story("TurnkeeperWakeUpsFail", "no process was there yet", {}, "10m"),
    Story(
        "TurnkeeperUnreadableItems",
        "the first one of a process, whose counter nobody saw at zero",
        {UNREADABLE: "_x20 1x40"},
        "6m",
        (LEFT_OUT,),
    ),
    Story("TurnkeeperUnreadableItems", "one more is found", {UNREADABLE: "3x300 4x40"}, "80m", (LEFT_OUT,)),
    Story("TurnkeeperUnreadableItems", "it was hours ago", {UNREADABLE: "_x20 1x800"}, "180m"),
    Story(
        "TurnkeeperUnreadableItems",
        "Prometheus was away for half an hour in the meantime",
        {UNREADABLE: "1x600 _x120 1x300"},
        "245m",
    ),
    Story(
        "TurnkeeperUnreadableItems",
        "a counter begins anew with its process",
        {UNREADABLE: "3x300 stale _x2 0x40"},
        "80m",
    ),
    Story(
        "TurnkeeperUnreadableItems",
        "items are older than they may be shown",
        {counter("session_unreadable_items", reason="expired", store="database+encrypted"): "0+1x60"},
        "10m",
    ),
    Story("TurnkeeperUnreadableItems", "nothing was read yet", {}, "10m"),
    Story(
        "TurnkeeperApiErrors",
        "a tenth of many requests fails",
        {served("200"): "0+9x80", served("503"): "0+1x80"},
        "18m",
        (fired("10% of the requests to the HTTP API fail"),),
    ),
    Story(
        "TurnkeeperApiErrors",
        "one of three requests at night fails",
        {served("200"): "0x10 2x70", served("503"): "0x4 1 1x75"},
        "8m",
    ),
    Story(
        "TurnkeeperApiErrors",
        "callers make mistakes",
        {served("200"): "0+9x80", served("422"): "0+3x80"},
        "18m",
    ),
    Story(
        "TurnkeeperApiErrors",
        "requests of another program fail",
        {'http_server_request_duration_seconds_count{job="shop",http_response_status_code="500"}': "0+9x80"},
        "18m",
    ),
    Story(
        "TurnkeeperApiErrors",
        "counters begin anew with the API",
        {served("200"): "0+9x40 0+9x40", served("500"): "9x40 0x40"},
        "18m",
    ),
    Story("TurnkeeperApiErrors", "nothing was served yet", {}, "18m"),
)
