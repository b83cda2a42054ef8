"""The program as the image starts it: exactly the files that the Dockerfile copies, and `train`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from atelier.contracts.clock import SystemClock
from atelier.contracts.progress import TrainingState
from tests.training.house import House

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "training_image/Dockerfile").read_text()


@pytest.fixture(scope="session")
def image(tmp_path_factory) -> Path:
    """A folder that stands for the image's root: what the Dockerfile copies, and nothing else."""
    root = tmp_path_factory.mktemp("image")
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE):
        place = root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith("/"):
            shutil.copytree(
                REPOSITORY / source, place, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copyfile(REPOSITORY / source, place)
    return root


def started(image: Path, house: House, *, words=None, **environment) -> subprocess.Popen:
    """Start the image's entry point in its working directory with its environment."""
    [entry] = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    [default] = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    [folder] = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)
    _, *arguments = json.loads(entry) + (json.loads(default) if words is None else words)
    given = dict(re.findall(r"^ENV (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    given["ATELIER_BASE_MODELS"] = str(image / given["ATELIER_BASE_MODELS"].lstrip("/"))
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=image / folder.lstrip("/"),
        env={
            **given,
            "PATH": os.defpath,
            "HOME": str(house.root),
            "ATELIER_OBJECTS": f"file://{house.root}/objects/",
            "ATELIER_ML_ROOT": str(house.ml.root),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def small(house: House, steps: int):
    tuned = house.task().hyperparameters
    return replace(tuned, steps=steps, resolution=64, batch_size=1, rank=2)


def test_the_image_trains_with_exactly_the_files_that_its_dockerfile_copies(image, house):
    task = house.add(hyperparameters=small(house, 3))
    house.lay_out()
    program = started(image, house)
    output, _ = program.communicate(timeout=120)
    assert program.returncode == 0, output
    assert house.progress(task).state is TrainingState.DONE
    assert not house.ml.failure.exists()
    assert "Traceback" not in output


def test_sigterm_saves_every_slot_and_leaves_in_time_and_a_restart_finishes(image, house):
    often = replace(small(house, 25), checkpoint_every_steps=1)
    task = house.add(hyperparameters=often)
    house.lay_out()
    program = started(image, house)
    wait_for(lambda: any("state/" in name for name in house.left(task)), program)
    program.send_signal(signal.SIGTERM)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    said = house.progress(task)
    assert said.state is TrainingState.TRAINING
    assert any(name == f"state/step-{said.step:06d}.safetensors" for name in house.left(task))
    again = started(image, house)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert "goes on from" in output
    assert house.progress(task).state is TrainingState.DONE


def wait_for(condition, program) -> None:
    for _ in range(6000):
        if condition():
            return
        assert program.poll() is None, program.communicate()[0]
        SystemClock().sleep(0.02)
    program.kill()
    pytest.fail("the program did not get there within 120 s")


def test_a_host_without_a_manifest_leaves_a_failure_file(image, house):
    program = started(image, house)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 1, output
    assert house.ml.failure.read_text().startswith("ContractBroken: ")


def test_a_host_without_its_base_model_leaves_a_failure_file(image, house):
    house.add()
    house.lay_out()
    program = started(image, house, ATELIER_BASE_MODELS=str(house.root))
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 1, output
    assert "base model tiny is not in this image" in house.ml.failure.read_text()


def test_a_host_whose_tasks_all_fail_leaves_a_failure_file(image, house):
    task = house.add()
    (house.root / "objects" / task.photos[0].key).unlink()
    house.lay_out()
    program = started(image, house)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 1, output
    assert house.ml.failure.read_text().startswith("all 1 tasks failed; the first: ObjectMissing")
    assert house.progress(task).state is TrainingState.FAILED


@pytest.mark.parametrize("words", [[], ["serve"], ["train", "now"]])
def test_another_command_is_refused_with_the_usage(image, house, words):
    program = started(image, house, words=words)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 2
    assert "usage: python -m training_image.program train" in output


def test_an_environment_that_does_not_read_is_refused_by_its_name(image, house):
    program = started(image, house, ATELIER_OBJECTS="")
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 2
    assert "ATELIER_OBJECTS is not set" in output
