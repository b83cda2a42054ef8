"""Reading a home: strictly, without leaving a trace, whoever works in it meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from atelier.contracts.clock import SystemClock
from infra.doctor import examine
from infra.local.evidence import collect, platform_now
from infra.local.evidence_processes import programs
from infra.local.sqlite_reading import read_only
from tests.doctor.conftest import PHOTOS, platform

CLOCK = SystemClock()


def findings(home: Path, *, running: bool = False, grace_seconds: float = 0):
    evidence = collect(home, clock=CLOCK, running=running)
    now = platform_now(home, clock=CLOCK)
    return examine(evidence, now=now, grace_seconds=grace_seconds).findings


def names(home: Path, **more) -> set[str]:
    return {finding.invariant for finding in findings(home, **more)}


def snapshot(home: Path) -> dict[str, tuple[int, int]]:
    """Every path with its size and time of change."""
    return {
        str(path.relative_to(home)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in home.rglob("*")
    }


def rewrite(file: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(statement, values)
    connection.close()


def test_reading_leaves_no_trace(home):
    before = snapshot(home)
    assert findings(home) == ()
    assert snapshot(home) == before


def test_reading_what_a_crash_left_open_leaves_its_log_as_it_is(home):
    # Killed while the file was open: its -wal lies there, with a row that the file has not yet.
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('UPDATE dispatch SET epoch = epoch + 100'); c.commit(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(home / "ledger.sqlite3")], check=False)
    before = snapshot(home)
    assert "ledger.sqlite3-wal" in before
    evidence = collect(home, clock=CLOCK, running=False)
    assert evidence.ledger.epoch > 100
    after = snapshot(home)
    assert {name: after[name] for name in before if not name.endswith("-shm")} == {
        name: state for name, state in before.items() if not name.endswith("-shm")
    }


def test_a_file_that_somebody_opens_meanwhile_is_read_once_more(home):
    file, turns = home / "ledger.sqlite3", []

    def take(connection):
        if not turns:
            writer = sqlite3.connect(file)
            writer.execute("UPDATE dispatch SET epoch = 7777")
            writer.commit()
            opened.append(writer)
        turns.append(connection.execute("SELECT epoch FROM dispatch").fetchone()[0])
        return turns[-1]

    opened: list[sqlite3.Connection] = []
    assert read_only(file, take) == 7777
    assert len(turns) == 2
    opened[0].close()


def test_a_home_where_no_platform_ever_ran_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        collect(tmp_path, clock=CLOCK, running=False)


def test_a_damaged_file_is_found_and_the_others_are_still_examined(home):
    (home / "executions.sqlite3").write_bytes(b"no database, not at all" * 1000)
    report_names = names(home)
    assert report_names == {"files-are-sound"}


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("ledger.sqlite3", "DELETE FROM dispatch"),
        ("executions.sqlite3", "DELETE FROM settings"),
    ],
)
def test_a_file_without_the_row_that_all_hangs_on_is_found(home, file, statement):
    rewrite(home / file, statement)
    [finding] = findings(home)
    assert (finding.invariant, finding.subject) == ("files-are-sound", f"file {file}")


@pytest.mark.parametrize("table", ["definitions", "executions"])
def test_a_row_that_names_one_that_is_gone_is_found(home, table):
    rewrite(home / "executions.sqlite3", f"DELETE FROM {table}")  # noqa: S608 - two fixed words
    told = {finding.subject: finding.found for finding in findings(home)}
    assert f"one of {table} that is not there" in told["file executions.sqlite3"]


def test_a_row_that_does_not_read_is_found(home):
    rewrite(home / "ledger.sqlite3", "UPDATE models SET document = '{}'")
    assert "documents-read" in names(home)


def test_a_request_that_is_gone_from_the_ledger_is_missed_everywhere(home):
    rewrite(home / "ledger.sqlite3", "DELETE FROM requests WHERE status = 'ready'")
    assert {"versions-in-order", "one-notice-per-outcome"} <= names(home)


def test_a_line_that_a_crash_cut_is_passed_over(home):
    with (home / "logs" / "notifications.jsonl").open("ab") as log:
        log.write(b'{"id": "m')
    evidence = collect(home, clock=CLOCK, running=False)
    assert evidence.torn_lines == 1
    assert names(home) == set()


def test_a_lost_line_of_the_notifications_log_is_found(home):
    (home / "logs" / "notifications.jsonl").unlink()
    assert names(home) == {"delivered-as-written"}


def only(home: Path, pattern: str) -> Path:
    return min((home / "objects").glob(pattern))


def test_a_changed_photo_of_a_dataset_is_found(home):
    only(home, "datasets/*/*/*.png").write_bytes(b"another picture")
    assert names(home) == {"datasets-are-there"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no archive", "does not read"),
        (b"", "does not read"),
    ],
)
def test_a_damaged_artifact_is_found(home, body, said):
    only(home, "artifacts/**/*.tar.gz").write_bytes(body)
    [finding] = findings(home)
    assert finding.invariant == "artifacts-are-what-versions-say"
    assert said in finding.found


def test_a_changed_manifest_is_found(home):
    path = only(home, "manifests/*.json")
    path.write_bytes(path.read_bytes() + b"\n")
    assert names(home) == {"manifests-are-what-jobs-train"}


def test_a_manifest_that_does_not_read_is_found(home):
    only(home, "manifests/*.json").write_bytes(b"{}")
    assert names(home) == {"documents-read", "manifests-are-what-jobs-train"}


def test_a_folder_that_an_ended_job_left_is_found(home):
    job = only(home, "manifests/*.json").stem
    (home / "training" / "jobs" / job / "algo-1").mkdir(parents=True)
    (home / "training" / "jobs" / "job-of-nobody").mkdir()
    found = [finding.subject for finding in findings(home)]
    assert sorted(found) == ["folder job-of-nobody", f"training job {job}"]


def test_half_a_file_is_found_once_its_writer_is_gone(home):
    path = home / "objects" / ".writing" / "1-2-3"
    path.write_bytes(b"half")
    os.utime(path, (0, 0))
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert names(home) == set()
    assert names(home) == {"nobody-left-half-a-file"}


def test_a_program_that_outlived_its_platform_is_found(home):
    root = home / "training" / "jobs" / "some-job" / "algo-1"
    stray = subprocess.Popen(
        ["/bin/sleep", "60"], env={"ATELIER_ML_ROOT": str(root)}, start_new_session=True
    )
    try:
        [finding] = findings(home)
        assert finding.invariant == "programs-belong-to-this-life"
        assert finding.subject == f"process {stray.pid}"
        assert {program.seen.job for program in programs(home)} == {"some-job"}
    finally:
        stray.kill()
        stray.wait()


def test_no_false_alarm_while_people_are_onboarded_cancelled_and_trained(tmp_path):
    home = tmp_path / "home"
    with platform(home, step_seconds=0.005) as studio:
        people = [studio.person("default", f"person-{number}") for number in range(4)]
        begun = {person: person.onboard(PHOTOS[: 4 + n % 2]) for n, person in enumerate(people)}
        people[0].post(f"/v1/onboardings/{begun[people[0]]}/cancel", {})

        def examined(seen) -> bool:
            assert findings(home, running=True, grace_seconds=10) == ()
            return False

        for person, onboarding in begun.items():
            person.wait(onboarding, examined)
        evidence = collect(home, clock=CLOCK, running=True)
    assert evidence.life.running
    assert len(evidence.ledger.requests) == 4


def test_a_platform_says_when_its_life_began(home):
    started = "2026-05-05T05:05:05.000Z"
    (home / "platform.json").write_text(json.dumps({"started_at": started}))
    life = collect(home, clock=CLOCK, running=False).life
    assert life.began_at.isoformat() == "2026-05-05T05:05:05+00:00"
    (home / "platform.json").unlink()
    without = collect(home, clock=CLOCK, running=False).life
    assert without.began_at is not None
    assert without.began_at < without.last_sign_at


@pytest.mark.parametrize("made", [[], ["training/jobs.sqlite3"]])
def test_a_home_whose_first_start_was_cut_short_is_being_made(tmp_path, made):
    """What was never there is not restored from a copy."""
    for name in ("ledger.sqlite3", *made):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    evidence = collect(tmp_path, clock=CLOCK, running=False)
    report = examine(evidence, now=CLOCK.now())
    assert report.findings == ()
    assert any("is being made" in invariant.why_not for invariant in report.invariants)
    with platform(tmp_path):
        pass
    assert not collect(tmp_path, clock=CLOCK, running=False).being_made
    assert findings(tmp_path) == ()


@pytest.mark.parametrize("name", ["ledger.sqlite3", "executions.sqlite3"])
def test_a_store_that_lost_its_tables_after_people_came_is_a_finding(home, name):
    for end in ("", "-wal", "-shm"):
        (home / f"{name}{end}").unlink(missing_ok=True)
    (home / name).touch()
    assert "files-are-sound" in names(home)
