"""Validate definitions: `python -m workflows.validator [--rules] [FILE…]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from workflows.machines.asl import MACHINES
from workflows.validator.findings import render
from workflows.validator.rules import RULES
from workflows.validator.validating import validate_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings of each file and return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m workflows.validator", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="definitions; our own without any")
    parser.add_argument("--rules", action="store_true", help="list the rules and stop")
    given = parser.parse_args(arguments)
    if given.rules:
        sys.stdout.write("".join(f"{rule.name:24}{rule.finds}\n" for rule in RULES))
        return 0
    ours = {machine.path.resolve(): machine for machine in MACHINES.values()}
    clean = True
    for path in given.files or ours:
        machine = ours.get(path.resolve())
        found = validate_text(
            path.read_text(encoding="utf-8"),
            input_paths=machine.input_paths if machine else (),
            placeholders=machine.placeholders if machine else None,
        )
        clean = clean and not found
        sys.stdout.write(f"{path.name}: {len(found) or 'no'} findings\n{render(found)}")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
