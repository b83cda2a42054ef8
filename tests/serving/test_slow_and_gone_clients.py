"""Clients that send slowly or go away, spoken to in ASGI itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.serving.artifacts import ANN
from tests.serving.fakes import FakeDrawer
from tests.serving.house import House, request_of, until
from tests.serving.test_engine import Hold

Receive = Callable[[], Awaitable[dict[str, Any]]]


async def post(house: House, path: str, receive: Receive) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await house.client.app(scope, receive, send)
    return sent


def test_the_rows_of_a_client_that_goes_away_leave_and_its_adapter_is_free(
    house: House, drawer: FakeDrawer
) -> None:
    house.load("ann", ANN)
    drawer.batches.clear()
    body = json.dumps(request_of(ANN, denoising_steps=200)).encode()

    async def goes_away(hold: Hold) -> list[dict[str, Any]]:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await asyncio.to_thread(hold.inside.wait, 20)
            return {"type": "http.disconnect"}

        return await post(house, "/models/ann/invoke", receive)

    with Hold(drawer, "advance") as hold:
        asyncio.run(goes_away(hold))
    assert house.client.delete("/models/ann").status_code == 200
    assert len(drawer.batches) <= 2


def test_a_body_that_does_not_come_is_408_and_holds_nothing(
    tmp_path: Path, drawer: FakeDrawer
) -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever comes")

    with House(tmp_path, drawer, body_seconds=0.05) as house:
        house.load("ann", ANN)
        head, tail = asyncio.run(post(house, "/models/ann/invoke", receive))
    assert head["status"] == 408
    assert json.loads(tail["body"])["error"] == "BodyTooSlow"


def test_a_client_that_goes_while_it_sends_changes_nothing(
    house: House, drawer: FakeDrawer
) -> None:
    house.load("ann", ANN)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    asyncio.run(post(house, "/models/ann/invoke", receive))
    until(lambda: house.invoke("ann", ANN).status_code == 200)
    assert [(r.uses, r.pins) for r in house.residency.all()] == [(0, 0)]
