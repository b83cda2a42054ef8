"""What is refused before anything is sent, drawn or written."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from app.cli.exits import CommandFailed, Exit
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


def _check(check: Callable[[str], object], word: str) -> None:
    try:
        check(word)
    except ValueError as problem:
        raise CommandFailed(Exit.REFUSED, str(problem), do="Correct the name.") from problem
