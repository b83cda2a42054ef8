"""`atelier up`, `atelier down`, `atelier key`, and finding the platform at all."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import socket
import threading
from pathlib import Path

import httpx
import pytest

from app.api.keys import verify
from app.cli.exits import CommandFailed, Exit
from app.cli.home import MAX_SAID_BYTES, SystemProcesses, start, stop
from app.local import hold
from app.start_log import Bounded
from atelier.contracts.clock import SystemClock
from tests.cli.platform import (
    ALL,
    KEY,
    QUEUED,
    URL,
    FakeProcesses,
    Shell,
    onboarding,
    write_platform,
)
from tests.local.disks import small_disk


@pytest.fixture
def fresh(tmp_path) -> Shell:
    """Return a shell where no platform ever ran."""
    return Shell(tmp_path / "home", processes=FakeProcesses())


def test_up_starts_the_platform_and_says_where_everything_is(fresh):
    assert fresh("up", "--port", "9000") == Exit.DONE
    [command] = fresh.processes.started
    log = fresh.home / "logs" / "start.log"
    words = ["-m", "app.local", "--home", str(fresh.home), "--port", "9000", "--log", str(log)]
    assert command[1:] == words
    for fact in (URL, KEY, str(fresh.home), "atelier onboard", "atelier down"):
        assert fact in fresh.out


def test_up_as_json_is_one_document(fresh):
    fresh("up", "--json")
    [told] = fresh.documents()
    assert (told["api_url"], told["key"], told["home"]) == (URL, KEY, str(fresh.home))


def test_up_where_a_platform_runs_already_says_where_everything_is(shell):
    assert shell("up") == Exit.DONE
    for fact in ("It runs already.", URL, KEY, str(shell.home), "atelier down"):
        assert fact in shell.out
    assert shell.processes.started == []
    shell("up", "--json")
    assert shell.documents()[0]["pid"] == 4000


def test_up_in_the_foreground_refuses_when_a_platform_runs_there_already(shell):
    assert shell("up", "--foreground") == Exit.REFUSED
    assert f"already: {URL}, process 4000" in shell.err
    assert "atelier down" in shell.err


@pytest.mark.parametrize("more", [(), ("--foreground",)])
def test_up_on_a_port_that_is_taken_is_refused_and_names_another(fresh, more):
    fresh.processes.taken = {8700}
    assert fresh("up", *more) == Exit.REFUSED
    assert "port 8700 on 127.0.0.1 is taken" in fresh.err
    assert "--port 0 takes any free one" in fresh.err
    assert fresh.processes.started == []


def test_a_port_is_free_until_somebody_listens():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not SystemProcesses().port_is_free(listener.getsockname()[1])
    assert SystemProcesses().port_is_free(0)


@pytest.fixture
def locked(tmp_path) -> Shell:
    """Return a shell in a home that this very process holds, found as real ones are."""
    home = tmp_path / "home"
    with hold(home):
        write_platform(home, pid=os.getpid(), home=str(home))
        yield Shell(home, processes=Looking())


class Looking(FakeProcesses):
    """Processes that are only written down, and locks that are real."""

    def holder(self, home):
        return SystemProcesses().holder(home)


def test_a_platform_is_found_by_its_lock_however_it_was_started(locked):
    assert locked("up", "--json") == Exit.DONE
    assert locked.documents()[0]["pid"] == os.getpid()
    assert locked.processes.started == []


def test_a_platform_is_found_and_stopped_through_a_link_to_its_home(locked, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(locked.home)
    assert locked("down", "--home", str(link)) == Exit.DONE
    assert locked.processes.terminated == [os.getpid()]


def test_in_a_copy_of_a_home_no_platform_runs_and_down_leaves_the_other_one_alone(locked, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(locked.home, copy)
    assert locked("models", "--home", str(copy)) == Exit.UNREACHABLE
    assert locked("down", "--home", str(copy)) == Exit.DONE
    assert "Nothing to stop" in locked.out
    assert locked.processes.terminated == []


def test_where_a_platform_runs_another_home_s_platform_json_is_not_taken_for_its_own(locked):
    write_platform(locked.home, pid=os.getpid(), home="/elsewhere")
    assert locked("models") == Exit.UNREACHABLE


def test_a_platform_that_only_starts_is_stopped_too(locked):
    (locked.home / "platform.json").unlink()
    assert locked("down") == Exit.DONE
    assert locked.processes.terminated == [os.getpid()]


def test_to_look_whether_a_platform_runs_leaves_nothing_behind(tmp_path):
    assert SystemProcesses().holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_whoever_looks_at_the_lock_for_a_moment_keeps_no_platform_from_starting(tmp_path):
    with (tmp_path / "lock").open("wb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        hold(tmp_path).close()


def test_up_takes_over_what_a_crash_left(fresh):
    write_platform(fresh.home, pid=99)
    assert fresh("up") == Exit.DONE


def test_a_process_that_got_the_id_of_a_dead_platform_is_left_alone(fresh):
    write_platform(fresh.home, pid=99)
    fresh.processes.commands[99] = "/usr/bin/editor"
    assert fresh("down") == Exit.DONE
    assert fresh.processes.terminated == []
    assert "Nothing to stop" in fresh.out


class DiesAtOnce(FakeProcesses):
    def _starts(self, pid, home):
        self.words = "port 8700 on 127.0.0.1 cannot be used\n"
        del self.commands[pid]
        yield


class StaysSilent(FakeProcesses):
    def _starts(self, pid, home):
        yield


def test_a_platform_that_ends_while_it_starts_shows_its_last_words(tmp_path):
    shell = Shell(tmp_path / "home", processes=DiesAtOnce())
    assert shell("up") == Exit.BROKEN
    assert "port 8700 on 127.0.0.1 cannot be used" in shell.err
    assert "start.log" in shell.err


def test_a_platform_that_never_answers_is_stopped_again(tmp_path):
    shell = Shell(tmp_path / "home", processes=StaysSilent())
    assert shell("up") == Exit.UNREACHABLE
    assert shell.processes.terminated == [4001]


def test_down_stops_the_platform_and_waits_until_it_is_gone(shell):
    assert shell("down") == Exit.DONE
    assert shell.processes.terminated == [4000]


@pytest.mark.parametrize(
    ("under_way", "said"),
    [
        (0, "Nothing was under way for tenant default."),
        (1, "1 onboarding was under way; it goes on at the next `atelier up`: run it before its"),
        (3, "3 onboardings were under way; they go on at the next `atelier up`: run it before the"),
    ],
)
def test_down_says_what_was_under_way(shell, under_way, said):
    shell.platform.page = 2
    shell.platform.items = [QUEUED] * under_way + [onboarding(*ALL)]
    shell("down")
    assert said in shell.out


def test_down_stops_a_platform_that_does_not_say_what_is_under_way(shell):
    shell.platform = lambda _: httpx.Response(500, text="")
    assert shell("down") == Exit.DONE
    assert "What was under way goes on at the next `atelier up`; deadlines pass" in shell.out


def test_a_platform_that_does_not_stop_is_told_of(shell):
    shell.processes.stubborn = True
    assert shell("down") == Exit.BROKEN
    assert "process 4000 still runs" in shell.err


def test_without_a_platform_commands_say_how_to_start_one(fresh):
    assert fresh("models") == Exit.UNREACHABLE
    assert fresh.err == (
        f"atelier: no platform runs in {fresh.home} (NoPlatform)\n"
        "  → Start it with `atelier up`, or name another with --home, or --url and --key.\n"
    )


def test_of_a_platform_that_nobody_stopped_commands_say_so_and_where_to_look(fresh):
    write_platform(fresh.home, pid=999)
    assert fresh("status") == Exit.UNREACHABLE
    assert "it failed or was killed, and nothing starts it again by itself" in fresh.err
    assert f"{fresh.home / 'platform.log'} may say why it ended" in fresh.err


def test_a_platform_that_does_not_answer_is_unreachable(shell):
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno 111] Connection refused", request=request)

    shell.platform = refuse
    assert shell("models") == Exit.UNREACHABLE
    assert f"nothing answers at {URL} (Connection refused)" in shell.err


def test_a_platform_that_takes_too_long_is_unreachable(shell):
    def sleep(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    shell.platform = sleep
    assert shell("models") == Exit.UNREACHABLE
    assert "did not answer in time" in shell.err


def test_an_address_that_is_no_platform_is_told_of(shell):
    shell.platform = lambda _: httpx.Response(200 + 304, text="<html>")
    assert shell("models") == Exit.BROKEN
    assert "answered 504" in shell.err


def test_another_platform_is_named_by_option_or_environment(fresh):
    assert fresh("models", "--url", "http://atelier.example", "--key", "k") == Exit.DONE
    fresh.environment |= {"ATELIER_URL": "http://atelier.example", "ATELIER_KEY": "k2"}
    assert fresh("models") == Exit.DONE
    assert fresh.platform.headers["GET /v1/models"]["Authorization"] == "Bearer k2"


def test_another_platform_needs_a_key(fresh):
    assert fresh("models", "--url", "http://atelier.example") == Exit.NOT_ALLOWED
    assert "--key or ATELIER_KEY" in fresh.err


def test_a_torn_platform_json_is_told_of(shell):
    (shell.home / "platform.json").write_text("{", encoding="utf-8")
    assert shell("models") == Exit.BROKEN
    assert "platform.json does not read" in shell.err


def test_a_torn_platform_json_that_a_crash_left_is_taken_over(fresh):
    fresh.home.mkdir()
    (fresh.home / "platform.json").write_text("{", encoding="utf-8")
    assert fresh("up") == Exit.DONE


def test_a_key_is_minted_that_the_platform_knows(shell):
    (shell.home / "secret").write_bytes(b"s" * 32)
    assert shell("key", "acme", "--user", "ada", "--json") == Exit.DONE
    [told] = shell.documents()
    caller = verify(b"s" * 32, told["key"])
    assert (caller.tenant, caller.user) == ("acme", "ada")
    assert shell("key", "acme") == Exit.DONE
    assert verify(b"s" * 32, shell.out.strip()).user is None


def test_a_tenant_name_that_is_none_is_refused(shell):
    (shell.home / "secret").write_bytes(b"s" * 32)
    assert shell("key", "Acme!") == Exit.REFUSED
    assert "a-z, 0-9 and hyphens" in shell.err


def test_without_a_secret_there_is_no_key(fresh):
    assert fresh("key", "acme") == Exit.NOT_FOUND
    assert "no platform ever ran" in fresh.err


def test_real_processes_start_say_something_and_end():
    processes = SystemProcesses()
    pid = processes.start(["/bin/sh", "-c", "echo begun; exec sleep 20"])
    assert processes.command(pid) is not None
    while processes.said(pid) != "begun\n":
        pass
    processes.terminate(pid)
    while processes.command(pid) is not None:
        pass
    processes.terminate(pid)


def test_of_what_a_process_says_the_end_is_kept():
    processes = SystemProcesses()
    pid = processes.start(["/bin/sh", "-c", "yes | head -c 300000; echo end"])
    while not processes.said(pid).endswith("end\n"):
        pass
    assert len(processes.said(pid)) == MAX_SAID_BYTES


def test_on_a_full_disk_up_says_why_the_platform_did_not_start(tmp_path):
    with small_disk(0), pytest.raises(CommandFailed) as failed:
        start(tmp_path, 0, processes=SystemProcesses(), clock=SystemClock())
    assert "Free space and start again" in failed.value.message


def test_a_real_platform_starts_says_things_into_its_log_and_stops(tmp_path):
    processes, clock = SystemProcesses(), SystemClock()
    told = start(tmp_path, 0, processes=processes, clock=clock)
    for stream in ("1", "2"):
        while Path(f"/proc/{told.pid}/fd/{stream}").resolve() != tmp_path / "logs" / "start.log":
            pass  # It answers a moment before.
    assert stop(tmp_path, processes=processes, clock=clock) == told.pid


def test_a_start_log_takes_so_much_and_no_more():
    file = io.StringIO()
    bounded = Bounded(file, 10)
    for _ in range(5):
        print("four", file=bounded)
    assert file.getvalue() == "four\nfour\n"
