"""Looking at sets costs a bounded part of a process, whoever asks at the same time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import BoundedSemaphore, Lock, Thread

from PIL import Image

from atelier.contracts.request import normalise, read_input
from tasks.photo_sets import make_dataset, read_upload_set, report_on
from tasks.ports import DECODES_AT_ONCE
from tests.fakes.world import World
from tests.photos.pictures import saved

MEASURE = """
import resource, sys
from threading import Thread
from tests.fakes.world import new_world
from atelier.contracts.request import normalise, read_input
from tasks.photo_sets import read_upload_set, report_on
with new_world() as world:
    sets = []
    for user in ("a", "b", "c", "d"):
        folder = world.upload(user, complete=False, photos=0)
        with open(sys.argv[1], "rb") as file:
            world.objects.put(f"{folder}large.png", file.read())
        asked = normalise(read_input(world.asked(user)), now=world.clock.now())
        sets.append(read_upload_set(asked, objects=world.objects))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    looks = [Thread(target=report_on, args=(s, 64), kwargs={"ports": world.ports}) for s in sets]
    [look.start() for look in looks]
    [look.join() for look in looks]
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@dataclass
class Counted:
    """A semaphore that remembers how many held it at once."""

    places: BoundedSemaphore
    held: int = 0
    most: int = 0
    taken: int = 0
    lock: Lock = field(default_factory=Lock)

    def __enter__(self) -> None:
        self.places.acquire()
        with self.lock:
            self.held += 1
            self.taken += 1
            self.most = max(self.most, self.held)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.held -= 1
        self.places.release()


def test_no_more_photos_are_decoded_at_once_than_the_platform_has_places(world: World) -> None:
    decoding = Counted(BoundedSemaphore(2))
    ports = replace(world.ports, decoding=decoding)
    sets = []
    for user in "abcdef":
        world.upload(user)
        asked = normalise(read_input(world.asked(user)), now=world.clock.now())
        sets.append((read_upload_set(asked, objects=world.objects), asked))
    threads = [Thread(target=make_dataset, args=given, kwargs={"ports": ports}) for given in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decoding.most <= 2
    assert decoding.taken == 5 * len(sets)


def test_every_platform_has_places_of_its_own(world: World) -> None:
    for _ in range(DECODES_AT_ONCE):
        assert world.ports.decoding.acquire(blocking=False)
    assert not world.ports.decoding.acquire(blocking=False)


def test_four_sets_of_the_largest_drawings_at_once_take_less_than_six_hundred_mebibytes(
    tmp_path: Path,
) -> None:
    image = Image.radial_gradient("L").resize((6000, 4000)).convert("RGB")
    (tmp_path / "large.png").write_bytes(saved(image, compress_level=1))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large.png")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 600


def test_a_set_with_too_many_photos_is_told_of_unread(world: World) -> None:
    folder = world.upload(photos=0, complete=False)
    for number in range(51):
        world.objects.put(f"{folder}{number}.png", b"never read")
    asked = normalise(read_input(world.asked()), now=world.clock.now())
    decoding = Counted(BoundedSemaphore(1))
    upload = read_upload_set(asked, objects=world.objects)
    report = report_on(upload, 64, ports=replace(world.ports, decoding=decoding))
    assert set(report.findings) == {"too-many"}
    assert decoding.taken == 0
