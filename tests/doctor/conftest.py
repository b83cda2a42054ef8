"""A home in which a few people were onboarded, and what the doctor reads in it."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from atelier.contracts.clock import SystemClock
from infra.doctor.evidence import Evidence
from infra.local.evidence import collect
from infra.local.programs import Program
from infra.local.training import TrainingSettings
from tests.fakes.world import photo
from tests.local.bench import turns_until
from tests.stories.conftest import Studio, running

REPOSITORY = Path(__file__).resolve().parents[2]
PHOTOS = [photo(number, side=96) for number in range(5)]


def program(module: str | Path, *words: str, **environment: str) -> Program:
    """Return a program of the tests in place of an image's."""
    named = [str(module)] if isinstance(module, Path) else ["-m", module]
    return Program(
        command=(sys.executable, "-S", *named, *words),
        working_directory=REPOSITORY,
        environment={"PATH": "/usr/bin:/bin", **environment},
    )


@contextmanager
def platform(home: Path, *, step_seconds: float = 0.001) -> Iterator[Studio]:
    """Run a platform whose programs keep their contracts and neither train nor draw."""
    training = TrainingSettings(creates_per_second=0, describes_per_second=0, sync_seconds=0.05)
    serving = Path(__file__).parents[1] / "local" / "model_program.py"
    with running(
        home,
        training=training,
        training_program=program(
            "infra.chaos.trains_nothing", "train", ATELIER_STEP_SECONDS=str(step_seconds)
        ),
        serving_program=program(serving, "8", "serve"),
    ) as studio:
        yield studio


@pytest.fixture(scope="session")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose platform was stopped after all had ended: ready twice, failed, cancelled."""
    home = tmp_path_factory.mktemp("doctor") / "home"
    with platform(home) as studio:
        ada, bob, eve = (studio.person("default", user) for user in ("ada", "bob", "eve"))
        first = ada.onboard(PHOTOS)
        ill = bob.onboard([*PHOTOS[:1]] * 2)
        assert ada.wait(first)["status"] == "ready"
        assert bob.wait(ill)["status"] == "failed"
        second = ada.onboard(PHOTOS[:4], new_version=True)
        assert ada.wait(second)["status"] == "ready"
        gone = eve.onboard(PHOTOS, hyperparameters={"steps": 20_000})
        eve.wait(gone, lambda seen: seen["status"] == "training")
        eve.post(f"/v1/onboardings/{gone}/cancel", {})
        jobs = studio.platform.training
        record = studio.platform.ledger.read(gone)
        turns_until(lambda: None, lambda: jobs.describe_record(record.job).ended)
    return home


@pytest.fixture
def home(used_home: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    copied = Path(shutil.copytree(used_home, tmp_path / "home", symlinks=True))
    for file in copied.rglob("*.sqlite3"):
        # As a platform's process leaves it when it ends: nothing is in the log any more.
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copied


@pytest.fixture(scope="session")
def healthy(used_home: Path) -> Evidence:
    """What the doctor reads there."""
    return collect(used_home, clock=SystemClock(), running=False)
