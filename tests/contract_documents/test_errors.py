"""The error tree: drawn as it is, names unique, lists for the state machines derived from it."""

from __future__ import annotations

import inspect
import json

import pytest

from atelier.contracts import errors
from atelier.contracts.errors import (
    ASL_ERRORS,
    LAMBDA_TRANSIENT_ERRORS,
    AtelierError,
    BrokenError,
    FinalError,
    RetryPolicy,
    WaitError,
    descendants,
    error_class,
    final_error_names,
    known_error_names,
    retriers,
)


def ours(kind):
    return [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]


def every_class(root=AtelierError):
    return [root, *(inner for child in ours(root) for inner in every_class(child))]


def drawing():
    """Return the tree in the module's docstring: (depth, name) from top to bottom."""
    lines = inspect.getdoc(errors).splitlines()
    names = [line.rstrip() for line in lines if any(mark in line for mark in "├└")]
    found = [(0, "AtelierError")]
    for line in names:
        mark = max(line.find("├"), line.find("└"))
        found.append((mark // 4, line[mark:].strip("├└─ ").split()[0]))
    return found


def tree(root=AtelierError, depth=0):
    return [
        (depth, root.__name__),
        *(inner for child in ours(root) for inner in tree(child, depth + 1)),
    ]


def test_the_drawing_at_the_top_of_the_module_is_the_tree():
    drawn = [
        (depth - drawing()[1][0] + 1 if n else 0, name) for n, (depth, name) in enumerate(drawing())
    ]

    assert drawn == tree()


def test_every_name_is_unique_and_none_is_the_languages_own():
    names = [kind.name() for kind in every_class()]

    assert len(set(names)) == len(names)
    assert not set(names) & (set(ASL_ERRORS) | set(LAMBDA_TRANSIENT_ERRORS))
    assert not any("." in name for name in names)


@pytest.mark.parametrize("leaf", list(descendants(AtelierError)), ids=lambda leaf: leaf.name())
def test_every_error_says_what_can_be_done_and_is_found_by_its_name(leaf):
    assert leaf.__doc__
    assert leaf("what happened").do.endswith(".")
    assert error_class(leaf.name()) is leaf
    assert sum(issubclass(leaf, kind) for kind in (FinalError, WaitError, BrokenError)) == 1


def test_an_unknown_name_is_no_class_of_ours():
    assert error_class("States.Timeout") is None
    assert error_class("FinalError") is None


def test_an_error_carries_its_facts_to_whoever_reads_it():
    problem = errors.NotFound("no model 'x'", kind="model", name="x")

    assert str(problem) == "no model 'x'"
    assert json.loads(json.dumps(problem.to_dict())) == {
        "error": "NotFound",
        "message": "no model 'x'",
        "do": errors.NotFound.do,
        "facts": {"kind": "model", "name": "x"},
    }


def test_what_to_do_can_be_said_more_precisely_at_the_raise():
    assert errors.Throttled("slow", do="Wait a minute.").do == "Wait a minute."
    assert errors.Throttled("slow").do == WaitError.do


def test_exactly_final_errors_are_caught():
    assert final_error_names() == [leaf.name() for leaf in descendants(FinalError)]
    assert "Cancelled" in final_error_names()
    assert not set(final_error_names()) & {leaf.name() for leaf in descendants(WaitError)}


def test_exactly_errors_that_waiting_cures_are_retried_each_under_one_policy():
    retried = [name for names, _ in retriers() for name in names]
    waits = [leaf.name() for leaf in descendants(WaitError)]

    assert sorted(retried) == sorted([*waits, *LAMBDA_TRANSIENT_ERRORS])
    for names, policy in retriers():
        for name in names:
            kind = error_class(name)
            assert kind is None or kind.retry == policy


def test_the_most_patient_policy_comes_last():
    def longest(policy):
        return policy.max_attempts * policy.max_delay_seconds

    policies = [policy for _, policy in retriers()]

    assert policies == sorted(policies, key=longest)


@pytest.mark.parametrize("policy", [policy for _, policy in retriers()], ids=str)
def test_a_policy_is_one_that_the_language_takes(policy):
    # states-language.net: IntervalSeconds and MaxDelaySeconds positive, BackoffRate from 1.0.
    assert isinstance(policy, RetryPolicy)
    assert 1 <= policy.interval_seconds < policy.max_delay_seconds < 31_622_400
    assert 1 <= policy.max_attempts < 99_999_999
    assert policy.backoff_rate >= 1.0


def test_what_a_machine_may_name_is_the_leaves_and_the_languages_own():
    leaves = {leaf.name() for leaf in descendants(AtelierError)}

    assert known_error_names() == leaves | set(ASL_ERRORS) | set(LAMBDA_TRANSIENT_ERRORS)
