"""Where a figure was measured: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "diffusers", "transformers", "safetensors")


def machine() -> dict[str, Any]:
    """Return what a figure's reader must know of the machine."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the commit that was measured, marked when the tree had changes.

    Results do not count: a measurement that writes them as it goes measures the same commit.
    """
    described = _git("describe", "--always", "--exclude=*")
    changed = _git(
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":/",
        ":(top,exclude)benchmarks/results",
    )
    return f"{described or 'unknown'}{'-dirty' if changed else ''}"


def _git(*words: str) -> str:
    told = subprocess.run(
        ["git", *words],  # noqa: S607 - git is on the path
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
