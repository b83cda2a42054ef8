"""The command line itself: help, mistakes, interruptions, and how fast it starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.cli import arguments
from app.cli.exits import MEANING, Exit
from tests.cli.platform import ID, QUEUED
from tests.conftest import Golden

COMMANDS = (
    "up",
    "down",
    "photos",
    "onboard",
    "status",
    "models",
    "generate",
    "cancel",
    "key",
    "doctor",
    "chaos",
)


def test_help_reads_as_it_should(golden: Golden, capsys):
    texts = []
    for words in ([], *[[command] for command in COMMANDS]):
        with pytest.raises(SystemExit) as ended:
            arguments.parse([*words, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        texts.append(text if not words else text.partition("\n`atelier --help`")[0])
    golden("help.txt", "\n———\n\n".join(texts))


def test_the_help_names_every_exit_code_and_that_of_every_command_leads_there(capsys):
    with pytest.raises(SystemExit):
        arguments.parse(["--help"])
    text = capsys.readouterr().out
    for code, meaning in MEANING.items():
        assert f"{int(code):>3}  {meaning}" in text
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            arguments.parse([command, "--help"])
        assert "`atelier --help` lists the exit codes." in capsys.readouterr().out


def test_every_exit_code_has_a_meaning():
    assert set(MEANING) == set(Exit)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: COMMAND"),
        (["onbord"], "invalid choice: 'onbord'"),
        (["onboard", "photos"], "required: --user"),
        (["generate", "--user", "ada", "x", "-n", "9"], "whole number from 1 to 8"),
        (["generate", "--user", "ada", "x", "--seed", "-1"], "whole number from 0"),
        (["generate", "--user", "ada", "x", "--size", "big"], "no size such as 64x64"),
        (["onboard", "photos", "--user", "ada", "--preset", "slow"], "invalid choice: 'slow'"),
        (["onboard", "photos", "--user", "ada", "--preset", "slow"], "choose from 'nano', 'fast'"),
        (["up", "--port", "99999"], "whole number from 0 to 65535"),
    ],
)
def test_a_mistyped_command_line_is_2_and_says_what_is_allowed(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments.parse(words)
    assert ended.value.code == Exit.USAGE
    assert said in capsys.readouterr().err


def test_an_interruption_is_130_and_says_that_the_onboarding_goes_on(shell):
    shell.platform.looks = [QUEUED]

    class Interrupted:
        def __getattr__(self, name):
            return getattr(shell_clock, name)

        def sleep(self, seconds):
            raise KeyboardInterrupt

    shell_clock, shell.clock = shell.clock, Interrupted()
    assert shell("status", ID, "--watch") == Exit.INTERRUPTED
    assert "What was started goes on" in shell.err


def test_a_command_imports_nothing_heavy():
    program = (
        "import sys; from app.cli.main import main; "
        "code = main(['models', '--url', 'http://127.0.0.1:9', '--key', 'k']); "
        "heavy = {'torch', 'diffusers', 'fastapi', 'pydantic', 'PIL', 'numpy', 'boto3'}; "
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "5 []\n"


def test_help_does_not_even_import_http():
    program = (
        "import sys\nfrom app.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    print('httpx' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize("words", [("--json", "status"), ("status", "--json")])
def test_json_may_stand_before_and_behind_the_command(shell, words):
    assert shell(*words) == Exit.DONE
    assert shell.documents() == [{"items": []}]
