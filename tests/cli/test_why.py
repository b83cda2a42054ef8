"""`atelier why`: the sentence of a platform that runs, and what a stopped one still knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from atelier.contracts.clock import ManualClock
from atelier.contracts.status import Stamp, Status
from infra.local.ledger import SqliteLedger
from tests.cli.platform import ID, Shell, write_platform
from tests.contracts.people import JOB, at, request_record

WHY = {
    "id": ID,
    "status": "training",
    "sentence": "It trains: step 75 of 150; it should be ready in about 9 s.",
    "phase": "training",
    "expected_end_at": None,
    "faster": [],
    "details": ["decides next: SyncCheckpoints", "training job: atelier-b"],
}


def test_the_sentence_comes_first_and_what_stands_behind_it_below(shell: Shell) -> None:
    shell.platform.why = WHY
    assert shell("why", ID) == 0
    assert shell.out.splitlines() == [
        WHY["sentence"],
        "  · decides next: SyncCheckpoints",
        "  · training job: atelier-b",
    ]


def test_an_unknown_onboarding_is_told_as_in_the_other_commands(shell: Shell) -> None:
    assert shell("why", "r" + "b" * 26) == 3
    assert "`atelier status` lists the onboardings" in shell.err


def stopped(tmp_path: Path, *records: object) -> Shell:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", clock=ManualClock())
    for record in records:
        ledger.create(record)
    ledger.close()
    return Shell(tmp_path)


def test_a_stopped_platform_says_that_nothing_goes_on(tmp_path: Path) -> None:
    record = request_record(given={"tenant": "default"})
    shell = stopped(tmp_path, record)
    assert shell("why", record.request[:8]) == 0
    told = " ".join(shell.out.split())
    assert told.startswith("No platform runs in")
    goes_on = (
        "the onboarding was queued, and goes on from there at `atelier up`, before its deadline"
    )
    assert goes_on in told
    assert "decides next" not in told


def test_a_platform_that_nobody_stopped_is_said_to_have_failed_or_been_killed(
    tmp_path: Path,
) -> None:
    record = request_record(given={"tenant": "default"})
    shell = stopped(tmp_path, record)
    write_platform(tmp_path, pid=999)
    assert shell("why", record.request) == 0
    told = " ".join(shell.out.split())
    assert "failed or was killed, and nothing starts it again by itself" in told
    assert "the onboarding was queued, and goes on from there at `atelier up`" in told


@pytest.mark.parametrize(
    ("stamp", "deadline", "said"),
    [
        (Stamp(1, Status.QUEUED), timedelta(-1), "ends as failed at `atelier up`, because its"),
        (Stamp(1, Status.QUEUED), timedelta(1), "which passes also while no platform runs."),
        (Stamp(1, Status.TRAINED, JOB), timedelta(-1), "goes on from there at `atelier up`."),
    ],
)
def test_a_stopped_platform_says_until_when_an_onboarding_can_go_on(
    tmp_path: Path, stamp: Stamp, deadline: timedelta, said: str
) -> None:
    now = ManualClock().now()
    asked = at(stamp, now=now - timedelta(2), given={"tenant": "default"})
    record = replace(asked, given=replace(asked.given, deadline=now + deadline))
    shell = stopped(tmp_path, record)
    assert shell("why", record.request) == 0
    assert said in " ".join(shell.out.split())


def test_a_platform_that_runs_and_does_not_answer_is_not_said_to_be_stopped(
    shell: Shell,
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno 111] Connection refused", request=request)

    shell.platform = refuse
    SqliteLedger(shell.home / "ledger.sqlite3", clock=ManualClock()).close()
    assert shell("why", ID) == 5
    assert "nothing answers at" in shell.err


def test_a_stopped_platform_still_tells_how_an_onboarding_ended(tmp_path: Path) -> None:
    record = at(Stamp(1, Status.CANCELLED), given={"tenant": "default"})
    shell = stopped(tmp_path, record)
    assert shell("why", record.request) == 0
    assert shell.out.startswith("It was cancelled at")


def test_another_tenant_s_onboarding_does_not_exist_there(tmp_path: Path) -> None:
    record = request_record()
    assert stopped(tmp_path, record)("why", record.request) == 3


def test_where_no_platform_ever_ran_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell("why", ID) == 5
    assert "atelier up" in shell.err
