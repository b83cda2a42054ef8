"""The engine agrees with what AWS Step Functions was recorded to do.

The recordings come from the archived, Apache-2.0 licensed LocalStack test suite, which had made
them on AWS; they are not part of this repository. What does not agree yet stands in
`not_yet.json` with its reason, and nothing else may stand there.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.engine.conftest import recorded_cases
from tests.engine.recorded import disagreement
from workflows.engine.errors import UnsupportedDefinition

NOT_YET = json.loads((Path(__file__).parent / "not_yet.json").read_text("utf-8"))


def difference(case: dict) -> str | None:
    try:
        return disagreement(case)
    except UnsupportedDefinition as refusal:
        return str(refusal)


def test_every_recorded_case_agrees_or_stands_among_those_that_do_not_yet():
    differing = {case["id"]: difference(case) for case in recorded_cases()}
    unlisted = {case: words for case, words in differing.items() if words and case not in NOT_YET}
    assert unlisted == {}


def test_whatever_agrees_is_struck_off_the_list():
    agreeing = {case["id"] for case in recorded_cases() if difference(case) is None}
    assert agreeing & NOT_YET.keys() == set()


def test_every_entry_of_the_list_has_a_reason():
    assert all(isinstance(reason, str) and reason for reason in NOT_YET.values())
    assert len(NOT_YET) <= 26
