"""A measurement as a program: in a home of its own, told as one JSON line, kept in results/."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def run(name: str, measure: Callable[[Path], dict[str, Any]]) -> int:
    """Measure in a new folder that goes afterwards; return the exit code.

    Args:
        name: of the file in `results/`.
        measure: takes the folder and returns the figures.
    """
    home = Path(tempfile.mkdtemp(prefix=f"atelier-{name}-"))
    try:
        result = measure(home)
    finally:
        shutil.rmtree(home)
    sys.stdout.write(json.dumps(result) + "\n")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0
