"""Programs as processes: clean start, certain end."""

import subprocess
import sys
from pathlib import Path

from infra.local.programs import Program, end_strays, start
from tests.local.bench import turns_until
from tests.local.test_training_contract import is_running


def program(folder: Path, body: str) -> Program:
    return Program((sys.executable, "-I", "-S", "-c", body), folder, {})


def finish(running) -> int:
    turns_until(lambda: None, lambda: running.exit_code is not None)
    return running.exit_code


def test_output_of_several_starts_is_appended_to_one_log(tmp_path: Path):
    for word in ("one", "two"):
        finish(start(program(tmp_path, f"print({word!r})"), log=tmp_path / "l/x", environment={}))
    assert (tmp_path / "l/x").read_text() == "one\ntwo\n"


def test_an_executable_that_is_not_there_ends_with_127_and_says_so(tmp_path: Path):
    missing = Program(("/no/such/program",), tmp_path, {})
    assert finish(start(missing, log=tmp_path / "log", environment={})) == 127
    assert "/no/such/program cannot be started" in (tmp_path / "log").read_text()


def test_the_given_environment_wins_over_the_images(tmp_path: Path):
    image = Program(
        (sys.executable, "-I", "-S", "-c", "import os; print(os.environ['A'], os.environ['B'])"),
        tmp_path,
        {"A": "image", "B": "image"},
    )
    finish(start(image, log=tmp_path / "log", environment={"B": "given"}))
    assert (tmp_path / "log").read_text() == "image given\n"


def test_what_a_program_leaves_running_in_its_group_ends_with_it(tmp_path: Path):
    body = (
        "import os, time\nchild = os.fork()\nprint(child, flush=True) if child else time.sleep(600)"
    )
    running = start(program(tmp_path, body), log=tmp_path / "log", environment={})
    assert finish(running) == 0
    child = (tmp_path / "log").read_text().strip()
    turns_until(lambda: None, lambda: not is_running(child))


def test_a_stray_is_found_by_a_folder_in_its_environment(tmp_path: Path):
    strays = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "input()"],
            stdin=subprocess.PIPE,
            env={"ATELIER_ML_ROOT": str(folder / "job/algo-1")},
        )
        for folder in (tmp_path / "ours", tmp_path / "ours-not")
    ]
    end_strays((), variable="ATELIER_ML_ROOT", folder=tmp_path / "ours")
    turns_until(lambda: None, lambda: strays[0].poll() is not None)
    assert strays[1].poll() is None
    for stray in strays:
        stray.kill()
        stray.communicate()
