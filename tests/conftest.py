"""What every test may ask for: golden files, renewed by `pytest --update-golden`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from atelier.contracts.logs import JsonLines

settings.register_profile("long", max_examples=10_000)
"""For a night: `pytest --hypothesis-profile=long tests/tasks/test_any_order.py`."""

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the tests produce into their golden files; read the diff afterwards",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare text with `golden/<name>` beside the test, or write it there when asked to."""
    folder = Path(request.path).parent / "golden"

    def compare(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def json_lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str], None]]:
    """Return a function that lets a test's log be told in JSON lines of a part, as products log.

    pytest has one handler for all tests: what is set is put back.
    """
    before = caplog.handler.formatter
    yield lambda part: caplog.handler.setFormatter(JsonLines(part))
    caplog.handler.setFormatter(before)
