"""The platform's process: how it listens, and what strangers can make of it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.local import UPLOADS_PATH, add_upload_receiver, listen
from infra.local.platform import LocalPlatform, LocalSettings
from infra.local.wire import build_wire


def test_asyncio_sees_that_it_listens_on_tcp_and_sends_answers_without_delay():
    with listen(0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def answer_to_the_gone(app: Any, path: str) -> int:
    """Return how an application answers whoever went in the middle of a body."""
    sent = [
        {"type": "http.request", "body": b"--b\r\nContent-Disposition: form-", "more_body": True},
        {"type": "http.disconnect"},
    ]
    answered: list[Any] = []

    async def receive() -> Any:
        return sent.pop(0)

    async def send(message: Any) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"multipart/form-data; boundary=b"),
            (b"x-amz-target", b"SageMaker.DescribeTrainingJob"),
        ],
    }
    asyncio.run(app(scope, receive, send))
    return int(answered[0]["status"])


@pytest.fixture
def platform(tmp_path: Path) -> LocalPlatform:
    return LocalPlatform(LocalSettings(home=tmp_path, upload_url="http://127.0.0.1/"))


def test_an_upload_whose_sender_goes_in_the_middle_of_it_is_no_failure(platform: LocalPlatform):
    app = FastAPI()
    app.state.larger_bodies = {}
    add_upload_receiver(app, platform)
    assert answer_to_the_gone(app, UPLOADS_PATH) == 400


def test_a_control_request_that_ends_in_the_middle_is_no_failure(platform: LocalPlatform):
    wire = build_wire(training=platform.training, endpoint=platform.endpoint)
    assert answer_to_the_gone(wire, "/") == 400
