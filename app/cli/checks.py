"""What is refused before anything is sent, drawn or written."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

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
    if not all(prompt.strip() for prompt in prompts):
        raise CommandFailed(
            Exit.REFUSED,
            "the prompt is empty; say what to draw",
            do="Name the subject by its words; `atelier models` lists them.",
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
    if not os.access(there, os.W_OK | os.X_OK):
        raise CommandFailed(
            Exit.REFUSED, f"{there} may not be written into", do="Name another one with --out."
        )


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
