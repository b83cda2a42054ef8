"""The committed definitions are the compiled ones, sound, and cheap to read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from atelier.contracts import errors
from atelier.contracts.request import MACHINE_FIELDS
from tests.machines.broken import SOUND
from workflows.machines import __main__ as command
from workflows.machines import asl, compiling, parts, sdk
from workflows.machines.drawing import draw
from workflows.machines.onboarding import RESUMABLE
from workflows.validator.__main__ import main as validator

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", asl.MACHINES)
def test_the_committed_definition_is_what_the_python_compiles_to(name):
    assert compiling.difference(asl.MACHINES[name]) == ""


@pytest.mark.parametrize("name", asl.MACHINES)
def test_the_validator_finds_nothing_in_our_machines(name):
    machine = asl.MACHINES[name]
    assert compiling.findings(machine, machine.path.read_text(encoding="utf-8")) == ()


@pytest.mark.parametrize("name", asl.MACHINES)
def test_every_placeholder_has_a_function_and_every_function_a_placeholder(name):
    text = asl.MACHINES[name].path.read_text(encoding="utf-8")
    placeholders = asl.MACHINES[name].placeholders
    assert {p for p in placeholders if f"${{{p}}}" in text} == set(placeholders)
    assert text.count("${") == text.count("FunctionName")


@pytest.mark.parametrize("name", asl.MACHINES)
def test_every_task_retries_what_passes_by_itself_with_full_jitter_and_a_cap(name):
    policies = {names[0]: policy for names, policy in errors.retriers()}
    for state in asl.load(name)["States"].values():
        for retrier in state.get("Retry", ()):
            policy = policies[retrier["ErrorEquals"][0]]
            assert retrier["JitterStrategy"] == "FULL"
            assert retrier["MaxDelaySeconds"] == policy.max_delay_seconds
            assert retrier["MaxAttempts"] == policy.max_attempts


def test_what_ends_an_onboarding_is_caught_on_every_way_to_the_model():
    states = asl.load("onboarding")["States"]
    for name in ("Register", "LaunchTraining", "SyncCheckpoints", "PublishModel"):
        caught = states[name]["Catch"][0]
        assert set(errors.final_error_names()) <= set(caught["ErrorEquals"])
        assert (caught["Next"], caught["ResultPath"]) == ("RecordFailure", parts.ERROR)


def test_after_publishing_there_is_no_way_to_failed():
    states = asl.load("onboarding")["States"]
    assert {c["Next"] for c in states["AnnounceReady"]["Catch"]} == {"Ready"}
    assert states["AnnounceReady"]["Next"] == "Ready"


def test_a_fork_can_go_on_from_every_state_but_the_one_that_sends_it_there():
    states = set(asl.load("onboarding")["States"])
    assert set(RESUMABLE) == states - {"ResumeAt", "InvalidResumeAt", "InvalidInput"}


def test_what_a_fork_carries_before_failure_is_what_an_input_may_hold():
    carried = {
        path.split(".")[1]
        for state, paths in RESUMABLE.items()
        if state not in {"RecordFailure", "AnnounceFailure", "Failed"}
        for path in paths
    }
    assert carried <= MACHINE_FIELDS


def test_reading_a_definition_imports_neither_the_sdk_nor_the_validator():
    program = (
        "import sys; from workflows.machines import asl; asl.load('onboarding'); "
        "print([m for m in sys.modules if m.startswith(('stepfunctions', 'boto3', 'yaml', "
        "'workflows.validator'))])"
    )
    assert _python(program) == "[]\n"


def test_the_sdk_leaves_the_process_as_it_was():
    program = (
        "import logging, sys, yaml; before = (logging.getLogger().level, sys.excepthook, "
        "dict(yaml.SafeDumper.yaml_representers)); import workflows.machines.sdk; "
        "print(before == (logging.getLogger().level, sys.excepthook, "
        "dict(yaml.SafeDumper.yaml_representers)))"
    )
    assert _python(program) == "True\n"


def test_check_is_silent_about_current_definitions():
    problems = io.StringIO()
    assert (compiling.check(problems), problems.getvalue()) == (0, "")


def test_a_definition_that_differs_is_shown_as_a_diff(tmp_path):
    for machine in asl.MACHINES.values():
        path = tmp_path / machine.file
        path.write_text('{\n  "Comment": "Something else."\n}\n', encoding="utf-8")
    problems = io.StringIO()
    assert compiling.check(problems, tmp_path) == 1
    assert '-  "Comment": "Something else."\n' in problems.getvalue()
    assert "python -m workflows.machines" in problems.getvalue()


def test_what_is_written_is_what_is_committed(tmp_path):
    out, problems = io.StringIO(), io.StringIO()
    assert compiling.write(out, problems, tmp_path) == 0
    for machine in asl.MACHINES.values():
        assert (tmp_path / machine.file).read_bytes() == machine.path.read_bytes()


def test_a_drawing_shows_every_state_and_way(golden):
    golden("sound.mmd", draw(SOUND))
    golden("dispatch.mmd", draw(asl.load("dispatch")))


@pytest.mark.parametrize("name", asl.MACHINES)
def test_the_drawings_in_the_docs_are_current(name):
    assert (DOCS / f"{name}.mmd").read_text(encoding="utf-8") == draw(asl.load(name))


def test_drawings_are_written_where_they_are_wanted(tmp_path, capsys):
    assert command.main(["--draw", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"onboarding.mmd", "dispatch.mmd"}


def test_the_command_checks_and_refuses_what_it_does_not_know(capsys):
    assert command.main(["--check"]) == 0
    with pytest.raises(SystemExit):
        command.main(["--check", "--draw", "docs"])


def test_a_state_that_is_left_out_of_the_reading_order_is_refused():
    first = sdk.Succeed("First", comment="One.")
    with pytest.raises(ValueError, match="Spare"):
        sdk.Machine((first, sdk.Succeed("Spare", comment="Two.")), comment="Too many.")


def test_a_broken_machine_is_not_written(tmp_path):
    broken = {**compiling.BUILDERS, "dispatch": _endless}
    out, problems = io.StringIO(), io.StringIO()
    assert compiling.write(out, problems, tmp_path, builders=broken) == 1
    assert "dispatch.asl.json is not written" in problems.getvalue()
    assert [path.name for path in tmp_path.iterdir()] == ["onboarding.asl.json"]


def _endless() -> sdk.Machine:
    turn = sdk.Pass("Turn", comment="Goes round.")
    turn.next(turn)
    return sdk.Machine((turn,), comment="Never ends.")


def test_the_validator_lists_its_rules(capsys):
    assert validator(["--rules"]) == 0
    assert "no-way-out              Find a state from which no way" in capsys.readouterr().out


def test_the_validator_says_of_a_file_what_is_wrong_with_it(tmp_path, capsys):
    path = tmp_path / "broken.asl.json"
    path.write_text(json.dumps({**SOUND, "StartAt": "Fecth"}), encoding="utf-8")
    assert validator([str(path)]) == 1
    assert "did you mean Fetch?" in capsys.readouterr().out
    assert validator([]) == 0
    assert "onboarding.asl.json: no findings" in capsys.readouterr().out


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr
