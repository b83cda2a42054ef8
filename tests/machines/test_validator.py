"""The validator finds each kind of mistake, says where, and says what to do."""

from __future__ import annotations

import json

import pytest

from atelier.contracts.errors import known_error_names
from tests.conftest import Golden
from tests.machines.broken import BROKEN, INPUT_PATHS, PLACEHOLDERS, SOUND, broken
from workflows.validator.findings import Finding, render
from workflows.validator.rules import RULES
from workflows.validator.validating import validate, validate_text


def findings(text: str) -> tuple[Finding, ...]:
    return validate_text(text, input_paths=INPUT_PATHS, placeholders=PLACEHOLDERS)


def test_a_sound_machine_has_no_findings():
    assert findings(json.dumps(SOUND)) == ()


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_every_rule_finds_what_breaks_it(rule):
    for edit in BROKEN[rule]:
        assert rule in {finding.rule for finding in findings(broken(edit))}


def test_the_findings_read_as_they_always_did(golden: Golden):
    text = "".join(
        f"{rule}\n{render(findings(broken(edit)))}\n" for rule in BROKEN for edit in BROKEN[rule]
    )
    golden("findings.txt", text)


def test_a_name_that_stands_twice_in_one_object_is_found_in_the_text():
    twice = json.dumps(SOUND).replace('"Missing": {', '"Done": {', 1)
    assert next(f.rule for f in findings(twice)) == "duplicate-name"


def test_text_that_is_no_json_is_a_finding_and_no_exception():
    assert [f.rule for f in findings('{"StartAt": ')] == ["malformed"]
    assert [f.rule for f in findings("[]")] == ["malformed"]


def test_a_definition_that_is_too_long_for_aws_is_a_finding():
    assert "1,048,576" in findings(" " * 1_048_577)[0].message


def test_what_every_input_holds_may_be_read_without_anybody_writing_it():
    assert validate(SOUND, input_paths=(), placeholders=PLACEHOLDERS) != ()


def test_placeholders_are_not_looked_at_when_nobody_says_which_there_are():
    assert validate(SOUND, input_paths=INPUT_PATHS) == ()


def test_a_way_without_the_missing_data_is_named():
    found = findings(broken(BROKEN["path-not-written"][0]))
    assert "on the way Fetch → Enough → Ask → Pause" in found[0].message


PRESENT = {"Variable": "$.limit", "IsPresent": True}
ABSENT = {"Variable": "$.limit", "IsPresent": False}
ADA = {"Variable": "$.who", "StringEquals": "ada"}


def told_how_long(rule, *, then: str, otherwise: str):
    """Return a machine whose Pause reads `$.limit`, which only its Choice can vouch for."""
    return {
        "Comment": "Waits, if it is told how long.",
        "StartAt": "Told",
        "States": {
            "Told": {
                "Type": "Choice",
                "Comment": "Is there a limit?",
                "Choices": [{**rule, "Next": then}],
                "Default": otherwise,
            },
            "Pause": {
                "Type": "Wait",
                "Comment": "So long.",
                "SecondsPath": "$.limit",
                "Next": "Done",
            },
            "Done": {"Type": "Succeed", "Comment": "Over."},
        },
    }


@pytest.mark.parametrize(
    ("rule", "safe"),
    [
        (PRESENT, True),
        (ABSENT, False),
        ({"Not": ABSENT}, True),
        ({"Not": PRESENT}, False),
        ({"And": [ADA, PRESENT]}, True),
        ({"Or": [PRESENT, PRESENT]}, True),
        ({"Or": [PRESENT, ADA]}, False),
        ({"Variable": "$$.Task.Token", "IsPresent": True}, False),
    ],
)
def test_behind_a_choice_is_certain_what_its_rule_has_seen(rule, safe):
    machine = told_how_long(rule, then="Pause", otherwise="Done")
    found = {f.rule for f in validate(machine, input_paths=INPUT_PATHS)}
    assert found == (set() if safe else {"path-not-written"})


@pytest.mark.parametrize(
    ("rule", "safe"),
    [
        (ABSENT, True),
        (PRESENT, False),
        ({"Not": PRESENT}, True),
        ({"Or": [ADA, ABSENT]}, True),
        ({"And": [ADA, ABSENT]}, False),
    ],
)
def test_otherwise_is_certain_what_the_rule_did_not_find_missing(rule, safe):
    machine = told_how_long(rule, then="Done", otherwise="Pause")
    found = {f.rule for f in validate(machine, input_paths=INPUT_PATHS)}
    assert found == (set() if safe else {"path-not-written"})


def test_a_map_is_read_inside_with_an_item_of_unknown_shape():
    inner = {
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Pass",
                "Comment": "One page.",
                "Parameters": {"page.$": "$.number"},
                "Next": "Nowhere",
            }
        },
    }
    machine = {
        "Comment": "Does every page.",
        "StartAt": "Pages",
        "States": {
            "Pages": {
                "Type": "Map",
                "Comment": "Every page.",
                "ItemsPath": "$.pages",
                "ItemProcessor": inner,
                "End": True,
            }
        },
    }
    found = validate(machine, input_paths=("$.pages",))
    assert {(f.state, f.rule) for f in found} == {
        ("Pages/Each", "dangling-target"),
        ("Pages/Each", "no-way-out"),
    }


def test_every_leaf_of_the_error_tree_may_be_named():
    machine = json.loads(json.dumps(SOUND))
    names = sorted(n for n in known_error_names() if n not in {"States.ALL", "States.Runtime"})
    machine["States"]["Fetch"]["Catch"][0]["ErrorEquals"] = names
    assert validate(machine, input_paths=INPUT_PATHS) == ()
