"""The `atelier` command: binds streams, clock, environment and processes, runs one command."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from app.cli.arguments import DEFAULT_HOME, parse
from app.cli.console import Console, is_live
from app.cli.exits import CommandFailed, Exit
from app.cli.hints import hint
from app.cli.home import Processes, Running, SystemProcesses, fell, running
from atelier.contracts.clock import Clock, SystemClock
from atelier.contracts.errors import AtelierError, CallerError, NotFound, WaitError

if TYPE_CHECKING:
    import httpx

    from app.cli.client import Client
    from app.cli.commands import Desk

    Command = Callable[[Namespace, Desk], Exit]

LOCAL_SECONDS = 5.0
"""How long a platform that is to be stopped may take to say what is under way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    code = run(
        arguments,
        out=sys.stdout,
        err=sys.stderr,
        environment=os.environ,  # noqa: TID251 - this is a composition root
        clock=SystemClock(),
        processes=SystemProcesses(),
        columns=lambda: shutil.get_terminal_size().columns,
    )
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end and would complain; there is nobody to complain to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def run(
    arguments: Sequence[str] | None,
    *,
    out: TextIO,
    err: TextIO,
    environment: Mapping[str, str],
    clock: Clock,
    processes: Processes,
    columns: Callable[[], int],
    transport: httpx.BaseTransport | None = None,
) -> int:
    """Run one command with everything that it touches given.

    Args:
        arguments: the command line without the program's name.
        out: where words and documents go.
        err: where it is said why a command cannot go on.
        environment: ATELIER_HOME, ATELIER_URL, ATELIER_KEY, TERM.
        clock: the time.
        processes: the operating system's.
        columns: how wide the terminal is.
        transport: how HTTP travels; the network unless a test says otherwise.
    """
    given = parse(arguments)
    live = not given.json and is_live(out, environment)
    console = Console(out, err, json=given.json, live=live, columns=columns)
    home = Path(given.home or environment.get("ATELIER_HOME") or DEFAULT_HOME).absolute()
    asked: list[bool] = []
    try:
        # The commands import httpx, which `--help` and a mistyped command need not wait for.
        from app.cli.commands import Desk  # noqa: PLC0415

        def connect() -> Client:
            asked.append(True)
            return _connect(given, environment, home, processes, clock, transport, console.aside)

        def connect_to(local: Running) -> Client:
            from app.cli.client import Client  # noqa: PLC0415 - as above

            return Client(
                local.api_url,
                local.key,
                clock=clock,
                transport=transport,
                patience_seconds=LOCAL_SECONDS,
            )

        desk = Desk(console, clock, home, processes, connect, connect_to)
        return int(_command(given)(given, desk))
    except CommandFailed as failed:
        failed.do = hint(given.command, failed.error, failed.do)
        console.failure(failed)
        return int(failed.exit)
    except AtelierError as problem:
        refused = _told(problem)
        console.failure(refused)
        return int(refused.exit)
    except OSError as problem:
        if isinstance(problem, BrokenPipeError):
            # Whoever read our output has gone, as `head` does; nobody is left to be told.
            return int(Exit.DONE)
        console.failure(_cannot_use(problem))
        return int(Exit.REFUSED)
    except (TypeError, ValueError, AttributeError, LookupError) as problem:
        if not asked:
            raise  # No stranger's answer: this is a defect of ours.
        console.failure(_not_understood(problem))
        return int(Exit.UNREACHABLE)
    except KeyboardInterrupt:
        console.release()
        err.write("\nInterrupted. What was started goes on; `atelier status` shows it.\n")
        return int(Exit.INTERRUPTED)


def _told(problem: AtelierError) -> CommandFailed:
    """Return what a store of this machine refuses, as a command says it."""
    exit_code, do = Exit.BROKEN, problem.do
    if isinstance(problem, CallerError):
        exit_code = Exit.NOT_FOUND if isinstance(problem, NotFound) else Exit.REFUSED
    elif isinstance(problem, WaitError):
        exit_code = Exit.BUSY
        if do == WaitError.do:  # Of tasks it is true; nobody repeats a command.
            do = "See that the disk has room and that you may read what is named; try again."
    return CommandFailed(
        exit_code, problem.message, do=do, error=problem.name(), facts=problem.facts
    )


def _cannot_use(problem: OSError) -> CommandFailed:
    name = problem.filename if isinstance(problem.filename, str) else problem.filename or "a file"
    return CommandFailed(
        Exit.REFUSED,
        f"{name}: {(problem.strerror or str(problem)).lower()}",
        do="Check that it is there, that you may use it, and that the disk has room; try again.",
        error="FileTrouble",
    )


def _not_understood(problem: Exception) -> CommandFailed:
    """Return the error of an answer whose parts are not what this command knows."""
    place = problem.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f", in {place.tb_frame.f_code.co_name}"
    return CommandFailed(
        Exit.UNREACHABLE,
        f"the platform's answer was not understood ({type(problem).__name__}: {problem}{where})",
        do="Is the platform of this command's version? `atelier --version` and `atelier up` tell.",
        error="UnexpectedAnswer",
    )


def _command(given: Namespace) -> Command:
    if given.command == "photos":
        from app.cli.photos_report import photos  # noqa: PLC0415 - 50 ms of Pillow

        return photos
    if given.command == "doctor":
        from app.cli.doctor import doctor  # noqa: PLC0415 - 100 ms of the platform's stores

        return doctor
    if given.command == "chaos":
        from app.cli.chaos import chaos  # noqa: PLC0415 - likewise

        return chaos
    from app.cli import commands, logs, redrive, retry, why  # noqa: PLC0415 - as above

    table: Mapping[str, Command] = {
        "up": commands.up_foreground if getattr(given, "foreground", False) else commands.up,
        "down": commands.down,
        "onboard": commands.onboard,
        "status": commands.status,
        "why": why.why,
        "logs": logs.logs,
        "models": commands.models,
        "generate": commands.generate,
        "cancel": commands.cancel,
        "redrive": redrive.redrive,
        "retry": retry.retry,
        "key": commands.key,
    }
    return table[given.command]


def _connect(
    given: Namespace,
    environment: Mapping[str, str],
    home: Path,
    processes: Processes,
    clock: Clock,
    transport: httpx.BaseTransport | None,
    told: Callable[[str], None],
) -> Client:
    """Open the API: at the address that was named, else the local platform's."""
    from app.cli.checks import check_address, is_word  # noqa: PLC0415 - as above
    from app.cli.client import Client  # noqa: PLC0415 - as above

    url = given.url or environment.get("ATELIER_URL")
    key = given.key or environment.get("ATELIER_KEY")
    if url is None:
        local = running(home, processes)
        if local is None:
            raise _no_platform(home)
        url, key = local.api_url, key or local.key
    if key is None:
        raise CommandFailed(
            Exit.NOT_ALLOWED,
            f"no key for {url}",
            do="Give it with --key or ATELIER_KEY.",
            error="Unauthorized",
        )
    check_address(url)
    if not is_word(key):
        raise CommandFailed(
            Exit.NOT_ALLOWED,
            "the key holds characters that no key has",
            do="Pass the key as the platform printed it, with --key or ATELIER_KEY.",
            error="Unauthorized",
        )
    return Client(url, key, clock=clock, told=told, transport=transport)


def _no_platform(home: Path) -> CommandFailed:
    """Return the error of a home in which no platform runs, by how its last one ended."""
    why, do = "", "Start it with `atelier up`, or name another with --home, or --url and --key."
    if fell(home):
        why = ": it failed or was killed, and nothing starts it again by itself"
        log = home / "platform.log"
        do = f"`atelier up` starts it; what was under way goes on. {log} may say why it ended."
    return CommandFailed(
        Exit.UNREACHABLE, f"no platform runs in {home}{why}", do=do, error="NoPlatform"
    )
