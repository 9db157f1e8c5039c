"""The base of every value that crosses a process: frozen, strict when produced, tolerant when consumed."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value.

    Building one refuses unknown fields, so a producer's typing mistake is found at once. Reading one
    (:meth:`from_json`, :meth:`from_data`) ignores them, so an older consumer survives a newer producer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a value from JSON, ignoring fields it does not know.

        Raises:
            pydantic.ValidationError: The text is not JSON, or a known field is missing or wrong.
        """
        return cls.model_validate_json(text, extra="ignore")

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """Read a value from plain data, ignoring fields it does not know.

        Raises:
            pydantic.ValidationError: A known field is missing or wrong.
        """
        return cls.model_validate(data, extra="ignore")

    def to_json(self) -> str:
        """The value as JSON text."""
        return self.model_dump_json()
