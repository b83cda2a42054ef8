"""Reading a JSON object field by field: each is taken once, and what nobody took is refused."""

from __future__ import annotations

from dataclasses import dataclass

from workflows.engine.errors import InvalidDefinition, UnsupportedDefinition
from workflows.engine.jsontext import Json, encode


@dataclass(slots=True)
class Fields:
    """The fields of one object that were not taken yet, and where the object stands."""

    _left: dict[str, Json]
    _location: str

    @classmethod
    def of(cls, value: Json, location: str) -> Fields:
        """Start reading `value`.

        Raises:
            InvalidDefinition: it is no object.
        """
        if not isinstance(value, dict):
            raise InvalidDefinition(
                f"An object is expected, not {_brief(value)}", location=location
            )
        return cls(dict(value), location)

    def has(self, key: str) -> bool:
        """Say whether the field is there and was not taken."""
        return key in self._left

    def names(self) -> list[str]:
        """Return what is left."""
        return list(self._left)

    def all(self) -> dict[str, Json]:
        """Return everything that is left without taking it."""
        return dict(self._left)

    def peek(self, key: str) -> Json:
        """Return a field without taking it."""
        return self._left[key]

    def take(self, key: str, default: Json) -> Json:
        """Take a field, or `default` where there is none."""
        return self._left.pop(key, default)

    def drop(self, key: str) -> None:
        """Take a field that means nothing to the engine."""
        self._left.pop(key, None)

    def text(self, key: str) -> str:
        """Take a string that must be there."""
        value = self._left.pop(key, None)
        if not isinstance(value, str):
            raise self.invalid(f"{key} is a string that must be there, not {_brief(value)}", key)
        return value

    def integer(self, key: str, default: int | None, *, least: int, most: int) -> int | None:
        """Take a whole number between `least` and `most`."""
        if key not in self._left:
            return default
        value = self._left.pop(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.invalid(f"{key} is a number {least}…{most}, not {_brief(value)}", key)
        return value

    def number(self, key: str, default: float, *, least: float) -> float:
        """Take a number of at least `least`."""
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            raise self.invalid(f"{key} is a number of at least {least}, not {_brief(value)}", key)
        return float(value)

    def object(self, key: str) -> Fields:
        """Take an object that must be there."""
        return Fields.of(self._left.pop(key, None), f"{self._location}/{key}")

    def inside(self, key: str) -> Fields:
        """Read an object without taking it."""
        return Fields.of(self._left[key], f"{self._location}/{_escape(key)}")

    def list_of_objects(self, key: str) -> list[Fields]:
        """Take a list of objects; none where there is no such field."""
        value = self._left.pop(key, [])
        if not isinstance(value, list):
            raise self.invalid(f"{key} is a list, not {_brief(value)}", key)
        return [
            Fields.of(item, f"{self._location}/{key}/{index}") for index, item in enumerate(value)
        ]

    def close(self) -> None:
        """Refuse whatever was not taken."""
        for key in self._left:
            raise self.unsupported(f"Field '{key}' is not supported", key)

    def invalid(self, message: str, key: str) -> InvalidDefinition:
        """Return the error for a field that breaks the language."""
        return InvalidDefinition(message, location=self._at(key))

    def unsupported(self, message: str, key: str) -> UnsupportedDefinition:
        """Return the error for a field that this engine does not run."""
        return UnsupportedDefinition(message, location=self._at(key))

    def _at(self, key: str) -> str:
        return f"{self._location}/{key}" if key else self._location


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _brief(value: Json) -> str:
    text = encode(value)
    return text if len(text) <= 60 else text[:57] + "…"
