"""`atelier logs`: the story from the home folder, whether or not a platform runs there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from atelier.contracts.clock import ManualClock, to_iso
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Stamp, Status
from infra.local.ledger import SqliteLedger
from tests.cli.platform import ID, Shell
from tests.cli.test_why import stopped
from tests.contracts.people import JOB, NOON, at, request_record

DEFAULT = {"tenant": "default"}


class Meanwhile(ManualClock):
    """A clock in whose sleeps something happens elsewhere, one thing in each."""

    def __init__(self, *happenings: Callable[[], None]) -> None:
        super().__init__()
        self._happenings: Iterator[Callable[[], None]] = iter(happenings)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        next(self._happenings, lambda: None)()


def ready(home: Path, **given: str) -> tuple[Shell, RequestRecord]:
    """Return somebody before a home folder with one ready onboarding, and a line of its logs."""
    entered = {Status.QUEUED.value: NOON, Status.READY.value: NOON}
    record = at(
        Stamp(1, Status.READY, JOB),
        given={"tenant": "default", **given},
        version="v1-1a2b3c4d",
        entered=entered,
    )
    detail = {"at": to_iso(NOON), "level": "INFO", "part": "tasks", "message": "Register took 1 s"}
    home.mkdir(exist_ok=True)
    (home / "platform.log").write_text(json.dumps({**detail, "request": record.request}) + "\n")
    return stopped(home, record), record


def test_the_short_story_has_a_time_a_part_and_words_a_line(tmp_path: Path) -> None:
    shell, record = ready(tmp_path)
    assert shell("logs", record.request[:8]) == 0
    assert shell.out.splitlines() == [
        "2026-01-01, times are UTC",
        "12:00:00.000  ledger            asked for, and queued",
        "12:00:00.000  ledger            ready as v1-1a2b3c4d",
    ]


def test_all_shows_every_line(tmp_path: Path) -> None:
    shell, record = ready(tmp_path)
    assert shell("logs", record.request, "--all") == 0
    assert "12:00:00.000  tasks             Register took 1 s" in shell.out.splitlines()


def test_json_is_a_document_a_line(tmp_path: Path) -> None:
    shell, record = ready(tmp_path)
    assert shell("logs", record.request, "--json") == 0
    assert shell.documents()[0] == {
        "at": "2026-01-01T12:00:00.000Z",
        "part": "ledger",
        "words": "asked for, and queued",
        "main": True,
        "request_id": "",
    }


def test_following_ends_with_the_onboarding(tmp_path: Path) -> None:
    shell, record = ready(tmp_path)
    assert shell("logs", record.request, "--follow") == 0
    assert shell.out.splitlines()[-1].endswith("ready as v1-1a2b3c4d")


def test_following_tells_each_new_line_once_and_what_comes_right_after_the_end(
    tmp_path: Path,
) -> None:
    record = request_record(given=DEFAULT)
    shell, log = stopped(tmp_path, record), tmp_path / "logs" / "notifications.jsonl"

    def cancel() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite3", clock=shell.clock)
        ledger.advance(record.request, Stamp(1, Status.CANCELLED))
        ledger.close()

    def tell() -> None:
        log.parent.mkdir()
        data = {"tenant": "default", "type": "onboarding.cancelled"}
        about = {"onboarding": record.request}
        log.write_text(json.dumps({**data, "created_at": to_iso(NOON), "data": about}) + "\n")

    nothing: Callable[[], None] = lambda: None  # noqa: E731 - a happening
    shell.clock = Meanwhile(nothing, cancel, tell)
    assert shell("logs", record.request, "--follow") == 0
    assert [line.split(maxsplit=1)[1] for line in shell.out.splitlines()[1:]] == [
        "ledger            asked for, and queued",
        "ledger            cancelled",
        "notification      told default: onboarding.cancelled",
    ]


def test_an_unknown_onboarding_is_told_as_such(tmp_path: Path) -> None:
    shell, _ = ready(tmp_path)
    assert shell("logs", ID) == 3
    assert shell("logs", "no id at all") == 3


def test_another_tenant_s_onboarding_does_not_exist(tmp_path: Path) -> None:
    shell, record = ready(tmp_path, tenant="acme")
    assert shell("logs", record.request) == 3


def test_a_start_that_several_ids_share_names_them(tmp_path: Path) -> None:
    alike = [f"raaaaa{letter * 21}" for letter in "bc"]
    records = [
        replace(record, given=replace(record.given, request=request))
        for request, record in zip(alike, [request_record(given=DEFAULT)] * 2, strict=True)
    ]
    shell = stopped(tmp_path, *records)
    assert shell("logs", "raaaaa") == 4
    assert all(request in shell.err for request in alike)


def test_where_no_platform_ever_ran_there_is_no_story(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell("logs", ID) == 3
    assert "--home" in shell.err
