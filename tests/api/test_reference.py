"""The page of `GET /docs`."""

from __future__ import annotations

import re

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.reference import page


def test_the_page_tells_every_call_and_every_shape(app: FastAPI, client: TestClient) -> None:
    answer = client.get("/docs", headers={"Authorization": ""})
    assert answer.status_code == 200
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<h3>{method.upper()} {path}</h3>" in answer.text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in answer.text


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/docs")
    assert "http" not in answer.text
    assert "<script" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_every_link_of_the_page_leads_somewhere(client: TestClient) -> None:
    text = client.get("/docs").text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'id="([^"]+)"', text))


def test_words_cannot_become_markup(app: FastAPI) -> None:
    document = app.openapi()
    told = {**document, "info": {**document["info"], "description": "<b>`<i>`</b>"}}
    assert "&lt;b&gt;<code>&lt;i&gt;</code>&lt;/b&gt;" in page(told)
