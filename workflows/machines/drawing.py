"""A state machine as a picture: Mermaid text, derived from the definition.

Source of the notation: https://mermaid.js.org/syntax/stateDiagram.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FORK = "resume_at"
"""Where a fork goes on; drawn as one way, because it leads to every state."""


def draw(machine: Mapping[str, Any]) -> str:
    """Return a Mermaid state diagram of a machine, one line for each way."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine['StartAt']}"]
    for name, state in machine["States"].items():
        lines += [f"    {name} --> {way}" for way in dict.fromkeys(_ways(state))]
    return "\n".join(lines) + "\n"


def _ways(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield `target` or `target: when` for each way out of a state."""
    if "Next" in state:
        yield state["Next"]
    forks = False
    for rule in state.get("Choices", ()):
        if _is_fork(rule):
            forks = True
        else:
            yield f"{rule['Next']}: {_condition(rule)}"
    if "Default" in state:
        yield f"{state['Default']}: {'resume_at names no state' if forks else 'otherwise'}"
    for catcher in state.get("Catch", ()):
        yield f"{catcher['Next']}: {_errors(catcher['ErrorEquals'])}"
    if state["Type"] in {"Succeed", "Fail"} or state.get("End"):
        yield "[*]"


def _is_fork(rule: Mapping[str, Any]) -> bool:
    """Tell whether a rule leads to a state because the input names it."""
    inner = rule.get("And", [rule])
    return any(test.get("Variable") == f"$.{FORK}" and "StringEquals" in test for test in inner)


def _condition(rule: Mapping[str, Any]) -> str:
    """Return a choice rule in a few words."""
    for name, word in (("And", " and "), ("Or", " or ")):
        if name in rule:
            return word.join(_condition(inner) for inner in rule[name])
    if "Not" in rule:
        return f"not ({_condition(rule['Not'])})"
    variable = str(rule["Variable"]).rpartition(".")[2]
    test, value = next((k, v) for k, v in rule.items() if k not in {"Variable", "Next", "Comment"})
    if test == "IsPresent":
        return variable if value else f"no {variable}"
    if test == "BooleanEquals":
        return variable if value else f"not {variable}"
    comparison = test.removeprefix("Numeric").removesuffix("Path")
    return f"{variable} {_COMPARISONS.get(comparison, '')}{value}"


_COMPARISONS = {
    "GreaterThanEquals": "≥ ",
    "GreaterThan": "> ",
    "LessThanEquals": "≤ ",
    "LessThan": "< ",
}


def _errors(names: list[str]) -> str:
    if any(name in {"States.ALL", "States.DataLimitExceeded"} for name in names):
        return "any error"
    return "final error" + (" or timeout" if "States.Timeout" in names else "")
