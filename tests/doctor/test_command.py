"""`atelier doctor`: what people and programs are told."""

from __future__ import annotations

import httpx
import pytest

from app.cli.exits import Exit
from app.cli.home import running
from atelier.contracts.clock import ManualClock
from infra.doctor.evidence import HeldSlot
from infra.local.endpoint_books import Guests
from infra.local.evidence_endpoint import LOOKS, look
from tests.cli.platform import Platform, Shell, problem, write_platform

BOOKS = {
    "in_service": True,
    "uses": {},
    "under_way": 0,
    "disk_bytes": 0,
    "disk_limit_bytes": 10,
    "residency": {"slots": 2, "adapters": []},
}
HELD = {"slots": 2, "adapters": [{"name": "a", "slot": 0, "uses": 1, "pins": 1}]}


class Telling(Platform):
    """A platform that shows its endpoint's books."""

    books = BOOKS

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/local/endpoint":
            self.asked.append("books")
            return httpx.Response(200, json=self.books)
        return super().__call__(request)


@pytest.fixture
def shell(home) -> Shell:
    typed = Shell(home, platform=Telling())
    typed.processes.commands.clear()
    return typed


@pytest.fixture
def beside_a_platform(shell) -> Shell:
    write_platform(shell.home)
    shell.processes.commands[4000] = "python -m app.local --home x"
    assert running(shell.home, shell.processes)
    return shell


def test_a_healthy_home_is_done_and_every_invariant_is_told(shell):
    assert shell("doctor", "--grace-seconds", "0", "--verbose") == Exit.DONE == 0
    assert f"No platform runs in {shell.home}; looked at:" in shell.out
    assert "   4  requests\n" in shell.out
    assert "   1  model\n" in shell.out
    assert "held           Every version's artifact is there, reads strictly" in shell.out
    assert "(no platform runs, and only a running one can tell)" in shell.out
    assert shell.out.startswith("Nothing disagrees in 31 invariants; 4 were not looked at.\n")


def test_what_held_is_named_only_where_it_is_wanted(shell):
    assert shell("doctor") == Exit.DONE
    assert "held  " not in shell.out
    assert "not looked at  " in shell.out


def test_a_broken_home_is_1_and_each_finding_says_what_to_do(shell):
    (shell.home / "logs" / "notifications.jsonl").unlink()
    assert shell("doctor") == Exit.DISAGREES == 1
    assert "broken         What the ledger calls delivered stands in the log" in shell.out
    assert "                 expected  a line in the log\n" in shell.out
    assert "                 do        Tell the tenant by hand" in shell.out
    assert shell.out.startswith("4 findings in 1 invariant of 35:\n")


def test_programs_get_one_document(shell):
    assert shell("doctor", "--json") == Exit.DONE
    [told] = shell.documents()
    assert told["healthy"]
    assert not told["running"]
    assert told["looked_at"]["requests"] == 4
    assert {invariant["verdict"] for invariant in told["invariants"]} == {"held", "not looked at"}


def test_a_home_without_a_platform_is_told_of(tmp_path):
    shell = Shell(tmp_path / "nowhere")
    assert shell("doctor") == Exit.NOT_FOUND
    assert "no platform ever ran in" in shell.err
    assert not (tmp_path / "nowhere").exists()


def test_the_folder_of_a_chaos_run_is_told_where_its_home_is(home):
    shell = Shell(home.parent)
    home.rename(home.parent / "home")
    assert shell("doctor") == Exit.NOT_FOUND
    assert f"Name its folder with --home: {home.parent / 'home'}, say." in shell.err


def test_a_running_platform_is_asked_for_its_endpoint(beside_a_platform):
    shell = beside_a_platform
    assert shell("doctor") == Exit.DONE
    assert f"The platform in {shell.home} runs; looked at:" in shell.out
    assert shell.out.startswith("Nothing disagrees in 35 invariants.\n")


def test_what_the_endpoint_holds_for_nobody_is_found(beside_a_platform):
    shell = beside_a_platform
    shell.platform.books = {**BOOKS, "residency": HELD}
    assert shell("doctor") == Exit.DISAGREES
    assert "adapter a\n" in shell.out
    assert shell.platform.asked == ["books"] * LOOKS


def test_a_platform_that_does_not_tell_of_its_endpoint_is_not_looked_at(beside_a_platform):
    shell = beside_a_platform
    shell.platform.__class__ = Platform
    shell.platform.refusals["GET /local/endpoint"] = [problem(404, "NotFound", "no path")]
    assert shell("doctor") == Exit.DONE
    assert "(endpoint could not be read)" in shell.out


def test_what_is_let_go_before_the_last_look_is_held_by_nobody():
    answers = [{**BOOKS, "residency": HELD}, BOOKS]
    clock = ManualClock()
    seen = look(lambda: answers.pop(0), clock=clock)
    assert seen is not None
    assert seen.held == ()


def test_a_server_that_says_nothing_of_its_slots_is_read_without_them():
    seen = look(lambda: {**BOOKS, "residency": None}, clock=ManualClock())
    assert seen is not None
    assert (seen.slots, seen.held) == (None, None)
    told = look(lambda: {**BOOKS, "under_way": 1, "residency": HELD}, clock=ManualClock())
    assert told is not None
    assert told.held == (HeldSlot("a", 0, 1, 1),)


def test_guests_are_counted_while_they_are_there_also_when_one_fails():
    guests = Guests()
    with pytest.raises(ZeroDivisionError), guests:
        guests.count / (guests.count - 1)
    assert guests.count == 0
