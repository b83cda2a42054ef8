"""What is refused before anything is sent, drawn or written."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from app.cli.exits import CommandFailed, Exit
from app.cli.photos import Photo
from app.cli.progress import counted
from atelier.contracts.ids import check_model, check_user


def check_words(given: Namespace) -> None:
    """Check the names and the prompts that a command was given.

    Raises:
        CommandFailed: one is none, with what is allowed.
    """
    _check(check_user, given.user)
    if given.model is not None:
        _check(check_model, given.model)
    prompts = [given.prompt] if isinstance(given.prompt, str) else given.prompt
    for name, texts in (
        ("prompt", prompts),
        ("--negative", [getattr(given, "negative", None)]),
        ("--consent-by", [getattr(given, "consent_by", None)]),
        ("--subject", [getattr(given, "subject", None)]),
        ("--trigger", [getattr(given, "trigger", None)]),
    ):
        _check_text(name, texts)
    if not is_word(getattr(given, "idempotency_key", None) or "x"):
        raise CommandFailed(
            Exit.REFUSED,
            "--idempotency-key travels in a header: it is printable ASCII",
            do="Write it with letters, digits and signs of a plain keyboard.",
        )
    if not all(prompt.strip() for prompt in prompts):
        raise CommandFailed(
            Exit.REFUSED,
            "the prompt is empty; say what to draw",
            do="Name the subject by its words; `atelier models` lists them.",
        )


def check_address(url: str) -> None:
    """Check that a platform may be at an address.

    Raises:
        CommandFailed: it is none.
    """
    try:
        parts = urlsplit(url)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right or not is_word(url) or " " in url:
        raise CommandFailed(
            Exit.USAGE,
            f"{url[:200]!r} is no address such as http://127.0.0.1:8700",
            do="Correct --url or ATELIER_URL.",
            error="NoAddress",
        )


def is_word(text: str) -> bool:
    """Return whether a text may stand in an HTTP header as it is."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _check_text(name: str, texts: Sequence[str | None]) -> None:
    # Arguments that the terminal's encoding cannot read come as halves of characters.
    for text in texts:
        if text is not None and not text.encode(errors="replace").decode() == text:
            raise CommandFailed(
                Exit.REFUSED,
                f"{name} holds bytes that are no UTF-8",
                do="Type it in a terminal whose encoding is UTF-8.",
            )


def check_folder(folder: Path) -> None:
    """Check that files can be written into a folder, which need not be there yet.

    Raises:
        CommandFailed: it or a folder above it is a file, or may not be written into.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise CommandFailed(
            Exit.REFUSED, f"{there} is a file; name a folder", do="Name another one with --out."
        )
    if not os.access(there, os.W_OK | os.X_OK) or not _takes_files(there):
        raise CommandFailed(
            Exit.REFUSED, f"{there} may not be written into", do="Name another one with --out."
        )


def _takes_files(folder: Path) -> bool:
    """Try it: some file systems refuse what the folder's permissions allow."""
    try:
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def without_trigger(photos: Sequence[Photo], trigger: str | None) -> str:
    """Return a sentence on captions that do not hold the trigger word given, or nothing."""
    captions = [photo.caption for photo in photos if photo.caption]
    if trigger is None or not captions:
        return ""
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    lacking = sum(not word.search(caption) for caption in captions)
    if not lacking:
        return ""
    return (
        f"{lacking} of {counted(len(captions), 'caption')} without the trigger word {trigger}: "
        "what they describe will not be learned under it"
    )


def _check(check: Callable[[str], object], word: str) -> None:
    try:
        check(word)
    except ValueError as problem:
        raise CommandFailed(Exit.REFUSED, str(problem), do="Correct the name.") from problem
