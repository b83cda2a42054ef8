"""Every check holds in a healthy home, and finds what is broken on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from infra.doctor import examine
from infra.doctor.evidence import Evidence
from infra.doctor.findings import Verdict
from infra.doctor.table import CHECKS
from tasks.settle_execution import stuck_sentence
from tests.doctor.breaking import BROKEN, HOUR, alive, ready, with_request

CASES = [(name, number) for name, worlds in BROKEN.items() for number in range(len(worlds))]


def found_in(evidence, *, grace_seconds=180.0):
    report = examine(evidence, now=evidence.read_at, grace_seconds=grace_seconds)
    return {finding.invariant: finding for finding in report.findings}


def test_nothing_disagrees_in_a_home_at_rest_even_without_any_grace(healthy):
    report = examine(healthy, now=healthy.read_at, grace_seconds=0)
    assert report.findings == ()
    assert report.looked_at["requests"] == 4
    assert report.looked_at["artifacts"] == 2


def test_nothing_disagrees_when_its_platform_runs_and_has_done_so_for_an_hour(healthy):
    report = examine(alive(healthy), now=healthy.read_at + HOUR)
    assert report.findings == ()
    assert {invariant.verdict for invariant in report.invariants} == {Verdict.HELD}


def test_every_check_of_the_table_can_fail():
    assert set(BROKEN) == {check.name for check in CHECKS}
    assert all(BROKEN.values())


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_check_finds_what_is_broken_on_purpose(name, number, healthy):
    broken = BROKEN[name][number](healthy)
    found = found_in(broken)
    assert name in found
    finding = found[name]
    assert all([finding.subject, finding.found, finding.expected, finding.do])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_promises_one_sentence_and_says_what_it_reads(check):
    assert check.promise.endswith(".")
    assert len(check.promise) < 120
    assert set(check.needs) <= set(Evidence.__slots__)


def test_what_could_not_be_read_is_told_as_not_looked_at_and_never_as_held(healthy):
    blind = replace(healthy, ledger=None, executions=None, endpoint=None)
    report = examine(blind, now=blind.read_at)
    verdicts = {i.name: (i.verdict, i.why_not) for i in report.invariants}
    assert verdicts["one-outcome"] == (Verdict.NOT_LOOKED_AT, "ledger could not be read")
    assert verdicts["nothing-held-for-nobody"][0] is Verdict.NOT_LOOKED_AT
    assert "no platform runs" in verdicts["nothing-held-for-nobody"][1]
    assert verdicts["job-changes-are-told"] == (Verdict.HELD, "")


def test_who_is_told_that_their_execution_failed_in_place_is_attended(healthy):
    [failed, *_] = [world(healthy) for world in BROKEN["somebody-works-on-it"]]
    record = failed.ledger.requests[ready(healthy).request]
    told = with_request(failed, record, waiting_for=stuck_sentence(record, "ContractBroken"))
    assert "somebody-works-on-it" in found_in(failed)
    assert "somebody-works-on-it" not in found_in(told)


def test_what_is_younger_than_the_grace_is_under_way_and_no_finding(healthy):
    broken = BROKEN["somebody-works-on-it"][0](healthy)
    assert "somebody-works-on-it" not in found_in(broken, grace_seconds=7200)


def test_what_a_platform_left_long_ago_is_young_again_once_it_has_begun_anew(healthy):
    broken = BROKEN["somebody-works-on-it"][0](healthy)
    life = replace(broken.life, began_at=broken.read_at - timedelta(seconds=60))
    assert "somebody-works-on-it" not in found_in(replace(broken, life=life))
    assert "somebody-works-on-it" in found_in(replace(broken, life=life), grace_seconds=59)


def test_a_launched_batch_whose_members_have_all_ended_misses_no_job(healthy):
    lost = replace(alive(healthy), training=replace(healthy.training, jobs={}))
    assert "every-job-has-its-batch" not in found_in(lost)
