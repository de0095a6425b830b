"""An export as it is sent: for as long as a stream may last, and with its place given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from turnkeeper_api.problems import Refused
from turnkeeper_api.streams import Streams
from turnkeeper_storage.settings import load_settings


async def lines() -> AsyncGenerator[str]:
    yield "one"
    yield "two"


async def begun() -> AsyncGenerator[str]:
    return lines()


async def receive() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def test_a_reader_who_takes_nothing_is_cut_off_and_gives_his_place_back() -> None:
    streams = Streams(load_settings(api_max_streams=1, api_stream_seconds=0.05))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    response = await streams.lines(begun)
    with pytest.raises(Refused):
        await streams.lines(begun)
    async with asyncio.timeout(10):
        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    # what has no end is no whole export
    assert [message.get("body") for message in sent] == [None, b"one\n"]
    await streams.lines(begun)
