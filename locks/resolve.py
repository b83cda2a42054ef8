"""Resolve every lock from pyproject.toml's extras: one per deployable, readable by plain pip.

Run by `make locks`. A lock pins the whole tree of its extras; it names no index, so that it
installs from whatever index pip is set up with.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "locks/demo.lock": ["demo", "build"],
    "locks/test.lock": ["test", "build"],
    "training_image/requirements.lock": ["torch", "aws"],
    "serving_image/requirements.lock": ["torch", "http", "aws"],
    "app/api/requirements.lock": ["http", "aws", "photos"],
    "tasks/requirements.lock": ["aws", "photos"],
}


def resolve(target: str, extras: list[str]) -> None:
    """Write one lock."""
    command = [
        sys.executable,
        "-m",
        "piptools",
        "compile",
        "--quiet",
        "--strip-extras",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-emit-trusted-host",
        "--no-emit-options",
        "--allow-unsafe",
        "--output-file",
        "-",
        *(f"--extra={extra}" for extra in extras),
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    pins = [
        # A local version (+cpu) names a build that exists on one machine only.
        re.sub(r"\+\w+", "", line)
        for line in done.stdout.splitlines()
        # The project itself, which its extras name, would be pinned to this checkout's folder.
        if re.match(r"[a-z0-9]", line, re.IGNORECASE) and " @ " not in line
    ]
    head = f"# Resolved from pyproject.toml [{', '.join(extras)}] by `make locks`.\n"
    (ROOT / target).write_text(head + "\n".join(pins) + "\n")


if __name__ == "__main__":
    for name, wanted in LOCKS.items():
        sys.stdout.write(f"{name}\n")
        resolve(name, wanted)
