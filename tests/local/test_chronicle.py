"""The chronicle: what the files of a home folder tell of one onboarding, and of no other."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from atelier.contracts import ids, keys
from atelier.contracts.clock import ManualClock, to_iso
from atelier.contracts.records import Batch, Failure, RequestRecord
from atelier.contracts.status import Stamp, Status
from infra.local.chronicle import (
    EVENTS_READ,
    JOB_WORDS,
    STARTED,
    STATUS_WORDS,
    STOPS,
    Line,
    chronicle,
)
from infra.local.job_record import AGAIN, JobRecord, Secondary
from infra.local.job_store import JobStore
from infra.local.ledger import SqliteLedger
from tests.contracts.people import JOB, NOON, at, request_record
from tests.engine.world import World
from workflows.engine.engine import SqliteHistoryStore

READY = Stamp(1, Status.READY, JOB)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def write(path: Path, *lines: Any) -> None:
    """Append lines to a log: objects as JSON, text as a library prints it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")


def line(seconds: float, message: str, **more: str) -> dict[str, str]:
    return {"at": to_iso(after(seconds)), "level": "INFO", "message": message, **more}


def ready() -> RequestRecord:
    entered = {
        Status.QUEUED.value: NOON,
        Status.LAUNCHING.value: after(1),
        Status.READY.value: after(20),
    }
    return at(READY, entered=entered, version="v1-1a2b3c4d")


def words(lines: list[Line], part: str) -> list[str]:
    return [line.words for line in lines if line.part == part]


def test_the_ledger_s_timeline_is_told_from_the_record_alone(tmp_path: Path) -> None:
    told = chronicle(tmp_path, ready())
    assert [line.words for line in told] == [
        "asked for, and queued",
        f"its training job was created: {JOB}",
        "ready as v1-1a2b3c4d",
    ]


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    failure = Failure("PhotosRejected", "2 of 5 can be used", "Send others.")
    record = at(Stamp(1, Status.FAILED), failure=failure, entered={Status.FAILED.value: NOON})
    [last] = chronicle(tmp_path, record)
    assert last.words == "ended without a model: PhotosRejected: 2 of 5 can be used"


def test_an_execution_that_never_began_is_no_obstacle(tmp_path: Path) -> None:
    assert words(chronicle(tmp_path, request_record()), "execution") == []


def test_a_host_s_lines_of_this_request_and_of_the_host_are_told_and_of_no_other(
    tmp_path: Path,
) -> None:
    record = ready()
    write(
        tmp_path / "logs" / "training" / JOB / "algo-1.log",
        line(2, "base model tiny on cpu", part="training host"),
        "a warning that a library printed",
        line(3, "training at step 0 of 6", part="training host", request=record.request),
        line(4, "training at step 0 of 6", part="training host", request="r" + "z" * 26),
        "{broken",
    )
    told = [line for line in chronicle(tmp_path, record) if line.part == "training host"]
    assert [(line.words, line.main) for line in told] == [
        ("base model tiny on cpu", False),
        ("training at step 0 of 6", True),
    ]


def test_draws_with_its_model_are_told_with_what_the_platform_logged_of_them(
    tmp_path: Path,
) -> None:
    record = ready()
    given = record.given
    target = keys.target_model(given.base, given.owner, given.model, "v1-1a2b3c4d")
    write(
        tmp_path / "logs" / "endpoint.log",
        line(30, "drew 1", part="model server", model=target, request_id="q1"),
        line(31, "drew 2", part="model server", model="another", request_id="q2"),
    )
    write(
        tmp_path / "platform.log",
        line(30, "POST answered 200", part="api", request_id="q1"),
        line(31, "POST answered 200", part="api", request_id="q2"),
    )
    told = chronicle(tmp_path, record)
    assert words(told, "model server") == ["drew 1"]
    api = [(line.at, line.request_id) for line in told if line.part == "api"]
    assert api == [(after(30), "q1")]


def test_what_is_loud_belongs_to_the_short_story(tmp_path: Path) -> None:
    record = ready()
    write(
        tmp_path / "platform.log",
        line(2, "Register took 1 s", part="tasks", request=record.request),
        {
            **line(3, "task failed", part="engine", execution=record.execution),
            "level": "ERROR",
            "error": {"type": "KeyError", "at": ["a.py:1 f", "b.py:2 g"]},
        },
    )
    told = [line for line in chronicle(tmp_path, record) if line.part in {"tasks", "engine"}]
    assert [(line.words, line.main) for line in told] == [
        ("Register took 1 s", False),
        ("error: task failed (KeyError at b.py:2 g)", True),
    ]


def test_a_rotated_log_is_read_too(tmp_path: Path) -> None:
    record = ready()
    write(tmp_path / "platform.log.1", line(1, "older", part="tasks", request=record.request))
    write(tmp_path / "platform.log", line(2, "newer", part="tasks", request=record.request))
    assert words(chronicle(tmp_path, record), "tasks") == ["older", "newer"]


def test_whoever_was_told_is_told_of(tmp_path: Path) -> None:
    record = ready()
    write(
        tmp_path / "logs" / "notifications.jsonl",
        *(
            {
                "created_at": to_iso(after(20)),
                "tenant": "acme",
                "type": "onboarding.ready",
                "data": {"onboarding": onboarding},
            }
            for onboarding in (record.request, "r" + "z" * 26)
        ),
    )
    assert words(chronicle(tmp_path, record), "notification") == ["told acme: onboarding.ready"]


def test_a_platform_that_stopped_meanwhile_is_told_of_and_no_earlier_or_later_one(
    tmp_path: Path,
) -> None:
    record = ready()
    write(
        tmp_path / "platform.log",
        line(-9, STARTED, part="platform"),
        line(5, STOPS, part="platform"),
        line(9, STARTED, part="platform"),
        line(99, STOPS, part="platform"),
    )
    assert words(chronicle(tmp_path, record), "platform") == [STOPS, STARTED]


def test_every_status_and_every_state_of_a_job_has_its_words() -> None:
    assert set(STATUS_WORDS) == set(Status)
    assert set(JOB_WORDS) == set(Secondary)


def test_what_the_record_forgot_of_earlier_attempts_is_told_too(tmp_path: Path) -> None:
    record = at(
        Stamp(2, Status.LAUNCHING, JOB),
        entered={Status.QUEUED.value: after(30), Status.LAUNCHING.value: after(32)},
    )
    batch = ids.batch_of([(record.request, 1)])
    lost = ids.job_name(batch, 1)
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", clock=ManualClock())
    ledger.create_batch(Batch(batch, ((record.request, 1),), 1, 1, after(1)))
    ledger.close()
    job = JobRecord(lost, "arn", {}, "ml.g5.xlarge", 1, Secondary.STARTING, after(2), after(2))
    store = JobStore(tmp_path / "training" / "jobs.sqlite3", event_of=lambda _record, _id: {})
    store.add(job, admit=lambda _running: job)
    store.close()
    histories = SqliteHistoryStore(tmp_path / "executions.sqlite3")
    world = World(histories)
    world.engine.register("onboarding", {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
    world.engine.start_execution("onboarding", name=record.execution, input={"job": lost})
    world.engine.run_until_idle()
    histories.close()
    told = chronicle(tmp_path, record)
    assert words(told, "ledger") == [
        "asked for, and queued",
        "has its place in a batch",
        "attempt 2 begins, and is queued",
        f"its training job was created: {JOB}",
    ]
    assert words(told, "training job")[0] == f"its training job was created: {lost}"


def test_a_job_that_lost_its_instances_is_told_with_why_it_begins_again(tmp_path: Path) -> None:
    job = JobRecord(JOB, "arn", {}, "ml.g5.xlarge", 1, Secondary.STARTING, NOON, NOON)
    for seconds, secondary, message in (
        (1, Secondary.STARTING, ""),
        (2, Secondary.INTERRUPTED, ""),
        (3, Secondary.STARTING, f"{AGAIN}the instances were lost"),
    ):
        job = job.entering(secondary, at=after(seconds), message=message)
    store = JobStore(tmp_path / "training" / "jobs.sqlite3", event_of=lambda _record, _id: {})
    store.add(job, admit=lambda _running: job)
    store.close()
    assert words(chronicle(tmp_path, ready()), "training job") == [
        "the job gets its instance, 1 × ml.g5.xlarge",
        "the job loses its instances",
        "the job begins again: the instances were lost",
    ]


def test_a_history_is_told_whole_and_in_its_order_however_long_it_is(tmp_path: Path) -> None:
    record, store = ready(), SqliteHistoryStore(tmp_path / "executions.sqlite3")
    world, states = World(store), [f"State{number}" for number in range(EVENTS_READ)]
    following = zip(states, [*states[1:], None], strict=True)
    world.engine.register(
        "onboarding",
        {
            "StartAt": states[0],
            "States": {
                state: {"Type": "Pass", **({"Next": after} if after else {"End": True})}
                for state, after in following
            },
        },
    )
    world.engine.start_execution("onboarding", name=record.execution, input={})
    world.engine.run_until_idle()
    store.close()
    assert words(chronicle(tmp_path, record), "execution") == [
        f"{record.execution} started",
        *(f"{moves} {state}" for state in states for moves in ("enters", "leaves")),
        "the execution ended well",
    ]
