"""The README says what is so: the machine it draws and the numbers it gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_drawn_state_machine_is_the_compiled_one() -> None:
    drawn = re.search(r"```mermaid\n(.*?)\n```", README, re.DOTALL)
    assert drawn
    assert drawn[1] == (ROOT / "docs/onboarding.mmd").read_text(encoding="utf-8").strip()


def test_every_local_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_numbers_of_the_demo_are_those_of_the_committed_measurement() -> None:
    result = json.loads((ROOT / "benchmarks/results/demo.json").read_text())
    shown = {
        "retrieval": f"{100 * result['retrieval_accuracy']:.0f} %",
        "prompt following": f"{100 * result['prompt_following']:.0f} %",
        "copies": str(result["copies"]),
        "images": str(result["images_judged"]),
    }
    table = README[README.index("## What the demo shows") : README.index("## The command")]
    for name, number in shown.items():
        assert number in table, f"{name}: {number}"


def test_every_target_that_the_readme_names_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z]+)", README):
        assert f"\n{target}:" in makefile, target
