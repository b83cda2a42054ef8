"""Why a body or parameter was refused, in our words: a table from pydantic's error types.

Source: https://docs.pydantic.dev/latest/errors/validation_errors/
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import PydanticCustomError

UNKNOWN_FIELD: Final = "unknown_field"
MOST_NAMED: Final = 5
MOST_SHOWN: Final = 80

WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} entries, found {actual_length}",
    "too_long": "must have at most {max_length} entries, found {actual_length}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
}
"""pydantic's error type → what the field must be; of any other its own words are told."""


def refused_field(told: Mapping[str, Any]) -> dict[str, str]:
    """Return where one of pydantic's errors is, and what is wrong there."""
    place, *inner = told["loc"]
    if told["type"] == "json_invalid":
        problem = f"no readable JSON: {told['ctx']['error']} at character {inner[0]}"
        return {"where": str(place), "problem": problem}
    given = told["input"]
    found = f", found {given!r:.80}" if isinstance(given, str | int | float) else ""
    if "found" in WORDS.get(told["type"], ""):
        found = ""
    where = ".".join(map(str, inner)) or str(place)
    words = WORDS.get(told["type"], "{msg:.500}")
    problem = words.format_map({"msg": told["msg"], **told.get("ctx", {})})
    return {"where": where[:200], "problem": f"{problem}{found}"}


def refuse_unknown(given: object, known: Sequence[str]) -> None:
    """Refuse an object with fields that nobody knows, naming the nearest that somebody does.

    Raises:
        PydanticCustomError: it has some.
    """
    unknown = [str(name) for name in given if name not in known] if isinstance(given, dict) else []
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0][:MOST_SHOWN], known, n=1)
    raise PydanticCustomError(
        UNKNOWN_FIELD,
        "unknown fields {names}; {meant}allowed are {known}",
        {
            "names": ", ".join(f"{name[:MOST_SHOWN]!r}" for name in unknown[:MOST_NAMED]),
            "meant": f"did you mean {near[0]!r}? " if near else "",
            "known": ", ".join(known),
        },
    )
