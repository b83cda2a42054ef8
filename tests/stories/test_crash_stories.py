"""Stories of a platform that is killed: at every state of an onboarding, and anywhere, by seed.

Each story has two people, whose onboardings begin on a platform that is killed with SIGKILL once
for each of its kills; the last platform lives. The stories run side by side.
"""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.api.keys import mint
from app.local import add_upload_receiver
from atelier.contracts.records import Notification, RequestRecord
from atelier.contracts.status import Status
from infra.local.notifications import read_notifications
from tests.stories.conftest import Person, mascot_photos
from tests.stories.crash_platform import Executioner, live, open_platform

pytestmark = pytest.mark.story

PROCESSES = get_context("forkserver")
"""Each life is a process of its own; what all of them import is imported once."""
ALONE = Lock()
Kill = tuple[str, int, str]
"""Point, its how-manieth passing, before or after."""
NEVER: Kill = ("none", 1, "before")
STATES = ("claimed", "launching", "training", "trained", "publishing", "ready")
MOST_CALLS = 120
"""About as many as the ports of one life get."""


def seeded(seed: int, kills: int) -> tuple[Kill, ...]:
    """Draw kills anywhere; the same seed draws the same."""
    drawn = random.Random(seed)
    return tuple(
        ("any", drawn.randint(1, MOST_CALLS), drawn.choice(["before", "after"]))
        for _ in range(kills)
    )


EACH_STATE = "at each state, one after the other"
STORIES: dict[str, tuple[Kill, ...]] = {
    EACH_STATE: tuple((f"to:{state}", 1, "after") for state in STATES),
    "in the queue, its callback just written": (("ledger.annotate", 1, "after"), *seeded(9, 1)),
    "just before it is published": (("ledger.publish", 1, "before"), ("any", 5, "after")),
    "ready and not announced, then announced and not marked so": (
        ("notifications.deliver", 1, "before"),
        ("notifications.deliver", 1, "after"),
    ),
    "while checkpoints are synced": (("training-objects.put", 4, "after"),) * 2,
    **{f"anywhere, seed {seed}": seeded(100 + seed, 2) for seed in range(4)},
    "the machine's power is cut, twice": (("to:publishing", 1, "after"), ("any", 30, "after")),
}
POWER_CUTS = frozenset({"the machine's power is cut, twice"})
"""What these kills leave also lacks all that was never synced to the disk."""
LOSSES: dict[str, Kill] = {
    "a training program is killed, again and again": ("program", 3, "after"),
    "instances are lost, again and again": ("instance", 3, "after"),
}
"""What hurts a training and leaves the platform alone."""
DONE_BEFORE_THE_KILL = (
    "just before it is published",
    "ready and not announced, then announced and not marked so",
)


@dataclass(frozen=True)
class Outcome:
    """What a story left."""

    exit_codes: list[int | None]
    records: list[RequestRecord]
    versions: list[int]
    deliveries: list[Notification]
    log: str
    complaints: str

    def told(self, request: str) -> list[str]:
        return [note.id for note in self.deliveries if note.data["onboarding"] == request]


def prepare(home: Path) -> None:
    """Have two people ask for a model; nothing of the platform runs yet."""
    platform = open_platform(home, Executioner(*NEVER))
    app = create_app(ports=platform.ports, secret=platform.secret, allowed_hosts=("localhost",))
    add_upload_receiver(app, platform)
    key = mint(platform.secret, "acme")
    client = TestClient(
        app, headers={"Authorization": f"Bearer {key}"}, base_url="http://localhost"
    )
    for user in ("ada", "bob"):
        Person(client, "acme", user).onboard(mascot_photos()[:5])
    platform.stop()


def cut_power(home: Path) -> None:
    """Take away what is not synced, and leave what a machine that died in mid-write leaves."""
    for folder in ("training/jobs", "endpoint"):
        shutil.rmtree(home / folder, ignore_errors=True)
    (home / "clock").write_bytes(bytes(8))
    (home / "objects/.writing").mkdir(exist_ok=True)
    (home / "objects/.writing/1-1-1").write_bytes(b"half an object")
    (home / "secret.new").write_bytes(b"half")
    with (home / "logs/notifications.jsonl").open("ab") as told:
        told.write(b'{"schema":"atelier.notific')


def tell(home: Path, kills: tuple[Kill, ...], *, power: bool = True) -> Outcome:
    """Let platforms live in a home, one after the other."""
    exit_codes, complaints = [], home / "complaints"
    lives = kills if kills[0] in LOSSES.values() else (*kills, NEVER)
    for kill in lives:
        life = PROCESSES.Process(target=live, args=(home, *kill), kwargs={"complaints": complaints})
        # Starting one asks all others whether they have ended, and an exit code is read only once.
        with ALONE:
            life.start()
        wait([life.sentinel])
        with ALONE:
            life.join()
        exit_codes.append(life.exitcode)
        if not power:
            cut_power(home)
    platform = open_platform(home, Executioner(*NEVER))
    records, _ = platform.ledger.scan_requests(unfinished=False, limit=10)
    owners = sorted({record.given.owner for record in records})
    models = [model for owner in owners for model in platform.ledger.models(owner=owner)]
    deliveries = list(read_notifications(home / "logs/notifications.jsonl"))
    logs = sorted((home / "logs/training").rglob("*.log"))
    platform.stop()
    return Outcome(
        exit_codes=exit_codes,
        records=list(records),
        versions=[len(model.versions) for model in models],
        deliveries=deliveries,
        log="".join(log.read_text() for log in logs),
        complaints=complaints.read_text(),
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All stories, told at the same time."""
    PROCESSES.set_forkserver_preload([live.__module__])
    folder = tmp_path_factory.mktemp("crashes")
    prepare(folder / "prepared")
    homes = {}
    stories = {**STORIES, **{story: (loss,) for story, loss in LOSSES.items()}}
    for number, story in enumerate(stories):
        homes[story] = folder / f"home-{number}"
        shutil.copytree(folder / "prepared", homes[story], symlinks=True)
    with ThreadPoolExecutor(6) as pool:
        told = {
            story: pool.submit(tell, homes[story], kills, power=story not in POWER_CUTS)
            for story, kills in stories.items()
        }
        return {story: outcome.result() for story, outcome in told.items()}


@pytest.mark.parametrize("story", STORIES)
def test_a_platform_that_is_killed_goes_on_and_everybody_is_ready_once_and_told_once(
    outcomes: dict[str, Outcome], story: str
):
    outcome = outcomes[story]
    assert outcome.exit_codes[-1] == 0, outcome.complaints
    assert set(outcome.exit_codes) <= {0, -9}, outcome.complaints
    assert outcome.exit_codes[0] == -9, "the first kill never came"
    assert [record.status for record in outcome.records] == [Status.READY, Status.READY]
    assert outcome.versions == [1, 1]
    for record in outcome.records:
        assert (record.attempt, record.lone_failures) == (1, 0)
        assert len(set(outcome.told(record.request))) == 1


@pytest.mark.parametrize("story", LOSSES)
def test_trainings_that_are_lost_by_nobodys_fault_go_on_and_are_held_against_nobody(
    outcomes: dict[str, Outcome], story: str
):
    outcome = outcomes[story]
    assert outcome.exit_codes == [0], outcome.complaints
    assert [record.status for record in outcome.records] == [Status.READY, Status.READY]
    assert outcome.versions == [1, 1]
    assert [record.lone_failures for record in outcome.records] == [0, 0]
    attempts = [record.attempt for record in outcome.records]
    killed = sum(record.interruptions for record in outcome.records)
    assert killed == sum(attempts) - len(attempts)
    assert killed in ({1, 2, 3} if story.startswith("a training program") else {0})


def test_each_state_is_one_in_which_the_platform_was_killed(outcomes: dict[str, Outcome]):
    assert outcomes[EACH_STATE].exit_codes == [-9] * len(STATES) + [0]


@pytest.mark.parametrize("story", DONE_BEFORE_THE_KILL)
def test_an_adapter_that_was_finished_when_the_platform_was_killed_is_not_trained_again(
    outcomes: dict[str, Outcome], story: str
):
    outcome = outcomes[story]
    done = sorted(outcome.log.count(f"done {record.request}") for record in outcome.records)
    # The other person's training may have been under way when the platform was killed.
    assert done[0] == 1, outcome.log
    assert done[1] <= 2, outcome.log
