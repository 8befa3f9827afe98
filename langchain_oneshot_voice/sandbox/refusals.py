"""The refusals of the service: one exception, and one JSON format."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - a refusal is an answer of the service, not an error in it
    """A refused request.

    Attributes:
        status: the HTTP status.
        error: the error code.
        message: a sentence for people.
        details: further fields of the body, such as `reason` or `approval_id`.
    """

    def __init__(self, status: int, error: str, message: str, **details: object) -> None:
        super().__init__(f"{status} {error}: {message}")
        self.status = status
        self.error = error
        self.message = message
        self.details = details

    def body(self) -> dict[str, object]:
        """Return the JSON body of the answer."""
        return {"error": self.error, "message": self.message, **self.details}
