"""A small run end to end, and what the report says when an invariant is broken on purpose."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.cli.chaos import ending, told_of
from app.cli.exits import Exit
from atelier.contracts.clock import SystemClock
from infra.chaos.plan import Fault, Kind, Life, Photos, Plan, Program, plan_of
from infra.chaos.report import Report
from infra.chaos.run import judge
from infra.chaos.runner import Ran, Runner, ending_words

CLOCK = SystemClock()


@dataclass(frozen=True)
class Done:
    """A run that is over."""

    plan: Plan
    ran: Ran
    folder: Path

    def report(self) -> Report:
        return judge(self.plan, self.ran, self.folder, clock=CLOCK)


def small(plan: Plan) -> Plan:
    """The plan's people with three short lives: one killed in mid-write, one at an instant."""
    first, *_, last = plan.lives
    return replace(
        plan,
        lives=(
            replace(
                first,
                fed=3,
                moments=(),
                end=Fault(Kind.KILL_IN_WRITE, "file:utime", nth=30),
                limit_seconds=3.0,
            ),
            Life(2, 6, first.faults, (), Fault(Kind.MACHINE_RESTART), 3.0),
            replace(last, number=3, moments=(), faults=last.faults[:4]),
        ),
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("chaos")
    plan = small(plan_of(3, 6, Program.NOTHING))
    return Done(plan, Runner(plan, folder, clock=CLOCK).run(), folder)


def test_every_invariant_holds_after_a_small_run(done):
    report = done.report()
    assert report.findings == ()
    assert (report.lost, report.doubled, report.outcomes_missing, report.leaks) == (0, 0, 0, 0)
    assert report.lives == 3
    assert report.drawn > 0
    assert report.faults["machine-restart"] == 1
    assert ending(report) is Exit.DONE


def test_what_was_planned_what_came_to_pass_and_what_people_did_are_told_apart(done):
    report = done.report()
    assert report.planned == done.plan.planned()
    assert all(report.reached[kind] <= report.planned[kind] for kind in report.reached)
    assert report.reached["machine-restart"] == 1
    assert report.acts["poisonous-photos"] == report.acts["rejected-photos"] == 1
    assert not set(report.acts) & set(report.faults)
    assert sum(report.outcomes.values()) == done.plan.onboardings
    assert report.invariants > 25


@pytest.mark.parametrize(
    ("end", "exit_code", "at_its_time", "said"),
    [
        (Kind.KILL_AFTER, -9, False, "killed as planned (kill-after-call)"),
        (Kind.KILL_AFTER, -9, True, "killed at its time; kill-after-call was not reached"),
        (Kind.KILL_AT_INSTANT, -9, True, "killed as planned (kill-at-instant)"),
        (Kind.STOP, 0, True, "stopped as planned (stop)"),
        (None, 1, False, "ended with exit code 1, which nobody planned"),
    ],
)
def test_a_lifes_end_is_told_beside_its_plan(end, exit_code, at_its_time, said):
    life = Life(1, 1, end=Fault(end) if end else None)
    assert ending_words(life, exit_code, at_its_time=at_its_time) == said


def test_the_last_words_name_the_figures_that_must_be_none(done):
    told = "\n".join(told_of(done.report()))
    assert "Every invariant held" in told
    assert "6 of 6 as they had to" in told
    assert "    0  lost" in told
    held = replace(done.report(), lost=1, findings=("wish 1 was never answered",))
    assert "  - wish 1 was never answered" in "\n".join(told_of(held))
    assert "1 finding: an invariant is broken." in "\n".join(told_of(held))


def test_everybody_ended_as_the_plan_expects(done):
    ended = {asked.wish.photos: (asked.status, asked.error) for asked in done.ran.asked}
    assert ended[Photos.REJECTED] == ("failed", "PhotosRejected")
    assert ended[Photos.POISONOUS] == ("failed", "PoisonousTask")


def test_a_model_whose_artifact_is_gone_is_found(done):
    artifact = next((done.folder / "home/objects/artifacts").rglob("*.tar.gz"))
    body = artifact.read_bytes()
    artifact.unlink()
    try:
        report = done.report()
    finally:
        artifact.write_bytes(body)
    assert any(artifact.name in finding for finding in report.findings)
    assert ending(report) is Exit.DISAGREES


def test_somebody_who_was_told_two_things_is_doubled(done):
    log = done.folder / "home/logs/notifications.jsonl"
    before = log.read_bytes()
    told = json.loads(before.splitlines()[0])
    log.write_bytes(before + json.dumps({**told, "id": "m" + "a" * 26}).encode() + b"\n")
    try:
        report = done.report()
    finally:
        log.write_bytes(before)
    assert report.doubled == 1
    assert ending(report) is Exit.DISAGREES


def test_somebody_who_ended_otherwise_is_missed(done):
    first, *others = done.ran.asked
    otherwise = replace(first, status="failed", error="PoisonousTask", cancelled="")
    otherwise = replace(otherwise, wish=replace(first.wish, photos=Photos.GOOD))
    report = judge(
        done.plan, replace(done.ran, asked=(otherwise, *others)), done.folder, clock=CLOCK
    )
    assert report.outcomes_missing == 1
    assert not report.holds


def test_an_onboarding_that_nobody_knows_any_more_is_lost(done):
    first, *others = done.ran.asked
    unknown = replace(first, ids=["r" + "a" * 26])
    report = judge(done.plan, replace(done.ran, asked=(unknown, *others)), done.folder, clock=CLOCK)
    assert report.lost == 1


def test_hidden_files_and_living_processes_are_leaks(done):
    hidden = done.folder / "home/objects/.writing/1-1-1"
    hidden.write_bytes(b"half")
    try:
        report = judge(done.plan, replace(done.ran, processes=("train",)), done.folder, clock=CLOCK)
    finally:
        hidden.unlink()
    assert report.leaks >= 2
