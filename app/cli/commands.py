"""What each command does: one function each, from parsed arguments to an exit code."""

from __future__ import annotations

import base64
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from app.cli import home as platforms
from app.cli import tables
from app.cli.checks import check_folder, check_words, without_trigger
from app.cli.client import Client, Document
from app.cli.console import Console
from app.cli.exits import CommandFailed, Exit
from app.cli.photos import Photo, read_folder
from app.cli.progress import ENDED, counted, ending, panel
from app.cli.watching import Pictures, Show, plain_name, watch, watch_all
from atelier.contracts.clock import Clock, from_iso
from atelier.contracts.request import DEFAULT_TENANT
from atelier.contracts.status import TERMINAL, Status

UNDER_WAY = tuple(status for status in Status if status not in TERMINAL)

LEAST_OF_AN_ID = 6
STARTS_AN_ID = re.compile(rf"r[a-z2-7]{{{LEAST_OF_AN_ID - 1},25}}")
"""So much of an onboarding's id that it may stand for the whole of it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What commands work with, bound in `main`.

    Attributes:
        console: where words go.
        clock: the time.
        home: folder of the local platform's state.
        processes: the operating system's.
        connect: opens the API, at the address that the arguments or the home folder name.
        connect_to: opens the API of a local platform that was found, with little patience.
    """

    console: Console
    clock: Clock
    home: Path
    processes: platforms.Processes
    connect: Callable[[], Client]
    connect_to: Callable[[platforms.Running], Client]


def up(given: Namespace, desk: Desk) -> Exit:
    """Start the platform in the background, unless it runs already, and say where it is."""
    console = desk.console
    already = platforms.running(desk.home, desk.processes)
    if not already:
        platforms.refuse_taken(given.port, desk.processes)
        console.say(f"Starting the platform in {desk.home} …")
    told = already or platforms.start(
        desk.home, given.port, processes=desk.processes, clock=desk.clock
    )
    console.document(told.to_dict(desk.home))
    console.say(
        "It runs already." if already else "It runs.",
        f"  API         {told.api_url}   (what it offers: {told.api_url}/docs)",
        f"  SageMaker   {told.sagemaker_url}   (boto3 with this endpoint_url)",
        f"  key         {told.key}",
        f"  state       {desk.home}",
        f"  logs        {desk.home / 'platform.log'}; of training and drawing: "
        f"{desk.home / 'logs'}",
        "Next: atelier onboard DIR --user U --watch. Stop it with: atelier down.",
    )
    return Exit.DONE


def up_foreground(given: Namespace, desk: Desk) -> Exit:
    """Run the platform here until it is interrupted."""
    from app.local import main as run  # noqa: PLC0415 - only this command needs the platform

    platforms.refuse_second(desk.home, desk.processes)
    platforms.refuse_taken(given.port, desk.processes)
    desk.console.say(f"The platform runs here, in {desk.home}; Ctrl-C stops it.")
    code = run(["--home", str(desk.home), "--port", str(given.port)])
    return Exit.DONE if code == 0 else Exit.BROKEN


def down(_given: Namespace, desk: Desk) -> Exit:
    """Stop the platform; what is under way goes on at the next start."""
    local = platforms.running(desk.home, desk.processes)
    under_way = _under_way(local, desk) if local else None
    stopped = platforms.stop(desk.home, processes=desk.processes, clock=desk.clock)
    desk.console.document({"stopped": stopped is not None, "home": str(desk.home)})
    desk.console.say(
        f"Stopped process {stopped}. {_goes_on(under_way)}"
        if stopped
        else f"Nothing to stop: no platform runs in {desk.home}."
    )
    return Exit.DONE


def onboard(given: Namespace, desk: Desk) -> Exit:
    """Upload a folder of photos and start an onboarding."""
    console = desk.console
    check_words(given)
    if given.watch and given.out:
        check_folder(given.out)
    photos = read_folder(given.folder, told=console.aside)
    _check_set(photos, given)
    if warning := without_trigger(photos, given.trigger):
        console.aside(warning)
    with desk.connect() as client:
        captioned = sum(bool(photo.caption) for photo in photos)
        console.say(
            f"Uploading {counted(len(photos), 'photo')} of {given.folder} for {given.user}"
            + (f", {captioned} with captions …" if captioned else " …"),
            f"Consent is recorded as given by {given.consent_by}.",
        )
        folder = client.upload(given.user, photos, consent_by=given.consent_by)
        wish = _wish(given, folder)
        started, new = client.start(wish, idempotency_key=given.idempotency_key)
        if before := _asked_before(started, new=new):
            console.say(before)
        if given.watch:
            return _watch(started["id"], given, desk, client)
        console.document(started)
        console.say(
            f"Onboarding {started['id']} of {given.user}/{started['model']}: {started['status']}.",
            *_next(started, console),
        )
        return _exit(started)


def status(given: Namespace, desk: Desk) -> Exit:
    """Show one onboarding, or the list of them; once, or until the end."""
    console = desk.console
    if given.watch and given.out:
        check_folder(given.out)
    with desk.connect() as client:
        if given.onboarding:
            given.onboarding = whole_id(given.onboarding, client)
        if given.onboarding and given.watch:
            return _watch(given.onboarding, given, desk, client)
        if given.onboarding:
            found = client.onboarding(given.onboarding)
            console.document(found)
            now, marks = desk.clock.now(), console.marks
            console.say(*panel(found, now=now, width=console.width, marks=marks))
            return _exit(found)
        if given.watch:
            watch_all(client, user=given.user, limit=given.limit, console=console, clock=desk.clock)
            return Exit.DONE
        items = client.onboardings(user=given.user, limit=given.limit)
        console.document({"items": items})
        console.say(
            *(
                tables.onboardings(items, now=desk.clock.now(), width=console.table_width)
                if items
                else [
                    _none_of("onboardings", given.user, "Start one: atelier onboard DIR --user U")
                ]
            )
        )
        return Exit.DONE


def models(given: Namespace, desk: Desk) -> Exit:
    """List the models that can be drawn with."""
    with desk.connect() as client:
        items = client.models(user=given.user)
    desk.console.document({"items": items})
    desk.console.say(
        *(
            tables.models(items, now=desk.clock.now(), width=desk.console.table_width)
            if items
            else [_none_of("models", given.user, "`atelier status` lists what is under way.")]
        )
    )
    return Exit.DONE


def generate(given: Namespace, desk: Desk) -> Exit:
    """Draw images with a model and save them."""
    check_words(given)
    check_folder(given.out)
    width, height = given.size or (None, None)
    wish = {
        "user_id": given.user,
        "prompt": given.prompt,
        "negative_prompt": given.negative,
        "seed": given.seed,
        "count": given.count,
        "denoising_steps": given.steps,
        "guidance": given.guidance,
        "width": width,
        "height": height,
        "adapter_scale": given.scale,
        "scheduler": given.scheduler,
        "format": given.format,
    }
    chosen = {name: value for name, value in wish.items() if value is not None}
    with desk.connect() as client:
        drawn = client.draw(given.model, chosen)
    given.out.mkdir(parents=True, exist_ok=True)
    images = []
    for image in drawn["images"]:
        stem = plain_name(f"{drawn['model']}-{drawn['version']}-{image['seed']}")
        body = base64.b64decode(image["image_base64"])
        path = _save(given.out, stem, plain_name(drawn["format"]), body)
        images.append({"seed": image["seed"], "path": str(path)})
        desk.console.say(str(path))
    desk.console.document({**drawn, "images": images})
    desk.console.say(
        f"{counted(len(images), 'image')} of {drawn['width']}×{drawn['height']} pixels by "
        f"{given.user}/{given.model} {drawn['version']} in {drawn['seconds']:.1f} s."
    )
    return Exit.DONE


def cancel(given: Namespace, desk: Desk) -> Exit:
    """Cancel an onboarding."""
    with desk.connect() as client:
        found = client.cancel(whole_id(given.onboarding, client))
    desk.console.document(found)
    name = f"Onboarding {found['id']} of {found['user_id']}/{found['model']}"
    desk.console.say(
        f"{name} is cancelled."
        if found["status"] == Status.CANCELLED
        else f"{name} had ended before, as {found['status']}."
    )
    return Exit.DONE


def key(given: Namespace, desk: Desk) -> Exit:
    """Mint an API key from the local platform's secret."""
    from app.api.keys import mint  # noqa: PLC0415 - only this command needs the server's side

    path = desk.home / "secret"
    if not path.exists():
        raise CommandFailed(
            Exit.NOT_FOUND,
            f"{path} does not exist: no platform ever ran in {desk.home}",
            do="Start one with `atelier up`, or name its folder with --home.",
        )
    try:
        minted = mint(path.read_bytes(), given.tenant, given.user)
    except ValueError as problem:
        raise CommandFailed(Exit.REFUSED, str(problem), do="Correct the name.") from problem
    desk.console.document({"tenant": given.tenant, "user_id": given.user, "key": minted})
    desk.console.say(minted)
    return Exit.DONE


def _under_way(local: platforms.Running, desk: Desk) -> list[Document] | None:
    """Return the onboardings that a platform's own key sees under way; None if it does not say."""
    try:
        with desk.connect_to(local) as client:
            return list(client.every_onboarding([str(s) for s in UNDER_WAY]))
    except CommandFailed:
        return None


def _goes_on(under_way: list[Document] | None) -> str:
    if under_way is None:
        return "What was under way goes on at the next `atelier up`; deadlines pass meanwhile."
    if not under_way:
        return f"Nothing was under way for tenant {DEFAULT_TENANT}."
    one = len(under_way) == 1
    were = "was under way; it goes" if one else "were under way; they go"
    first = from_iso(min(found["deadline"] for found in under_way))
    until = f"{'its' if one else 'the first'} deadline, {first:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"{counted(len(under_way), 'onboarding')} {were} on at the next `atelier up`: run "
        f"it before {until}, which passes also while no platform runs."
    )


def whole_id(start: str, client: Client) -> str:
    """Return the id of the one onboarding whose id starts so; other words stay as they are.

    Raises:
        CommandFailed: several ids start so, or it is too little of one.
    """
    check_length(start)
    if not STARTS_AN_ID.fullmatch(start):
        return start
    found = [d["id"] for d in client.every_onboarding() if d["id"].startswith(start)]
    if len(found) > 1:
        raise CommandFailed(
            Exit.REFUSED,
            f"{start} starts the ids of {len(found)} onboardings: {', '.join(found[:4])}",
            do="Give more of the id.",
        )
    return found[0] if found else start


def check_length(start: str) -> None:
    """Check that an id is not cut too short to stand for one.

    Raises:
        CommandFailed: it is.
    """
    if len(start) < LEAST_OF_AN_ID:
        raise CommandFailed(
            Exit.NOT_FOUND,
            f"{start!r} is too short: an id may be cut to its first {LEAST_OF_AN_ID} characters",
            do="Give more of the id; `atelier status` lists the onboardings.",
            error="NotFound",
        )


def _none_of(things: str, user: str | None, do: str) -> str:
    return f"No {things}{f' of {user}' if user else ''} yet. {do}"


def _wish(given: Namespace, folder: str) -> Document:
    """Return the body of POST /v1/onboardings: only what was said; the platform has defaults."""
    chosen: dict[str, Any] = {
        "model": given.model,
        "base": given.base,
        "preset": given.preset,
        "subject": given.subject,
        "trigger": given.trigger,
        "seed": given.seed,
        "deadline_seconds": given.deadline_seconds,
        "hyperparameters": {"steps": given.steps} if given.steps is not None else None,
        "samples": [{"prompt": prompt} for prompt in given.prompt] or None,
        "new_version": given.new_version or None,
        "priority": given.priority,
    }
    said = {name: value for name, value in chosen.items() if value is not None}
    return {"user_id": given.user, "photos": folder, **said}


def _check_set(photos: Sequence[Photo], given: Namespace) -> None:
    """Look at the photos, and refuse what makes no model before anything is sent."""
    from app.cli.looking import check_set  # noqa: PLC0415 - 100 ms of Pillow

    check_set(photos, base=given.base, chosen=given.preset)


def _asked_before(started: Document, *, new: bool) -> str:
    """Return what to say of an onboarding that was asked for before; nothing of a first one."""
    before = "The same photos and settings were asked for before"
    if new:
        attempt = started["attempt"]
        return f"{before}, without a model: attempt {attempt} begins." if attempt > 1 else ""
    return (
        f"{before}: this is that onboarding. For one beside it give --idempotency-key with a new "
        "word."
    )


def _watch(onboarding: str, given: Namespace, desk: Desk, client: Client) -> Exit:
    folder = given.out or desk.home / "previews" / plain_name(onboarding)
    show = Show(desk.console, desk.clock, Pictures(folder, client))
    ended = watch(
        lambda: client.onboarding(onboarding), show, clock=desk.clock, told=desk.console.aside
    )
    desk.console.release()
    if ended["status"] == Status.READY:
        desk.console.say(_how_to_draw(ended))
    return _exit(ended)


def _next(onboarding: Document, console: Console) -> list[str]:
    """Return what can be done with an onboarding that was found or started."""
    if onboarding["status"] == Status.READY:
        return [_how_to_draw(onboarding)]
    if onboarding["status"] in ENDED:
        return ending(onboarding, marks=console.marks)
    return [f"Watch it: atelier status {onboarding['id']} --watch"]


def _how_to_draw(onboarding: Document) -> str:
    return (
        f"Draw with it: atelier generate --user {quote(onboarding['user_id'])} "
        f"--model {onboarding['model']} "
        f'"{onboarding["instance_prompt"]} on the beach" -n 4'
    )


def _exit(onboarding: Document) -> Exit:
    without_model = onboarding["status"] in ENDED - {str(Status.READY)}
    return Exit.NO_MODEL if without_model else Exit.DONE


def _save(folder: Path, stem: str, suffix: str, body: bytes) -> Path:
    """Write a file under a name of its own; another image of that name is never overwritten."""
    path, number = folder / f"{stem}.{suffix}", 2
    while path.exists() and path.read_bytes() != body:
        path, number = folder / f"{stem}-{number}.{suffix}", number + 1
    path.write_bytes(body)
    return path
