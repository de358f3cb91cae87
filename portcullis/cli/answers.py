"""What the API answers, as the screens read it: one type per answer, checked before anything is shown.

Here is the root of them; the types are in `access_answers`, `oversight_answers`, `people_answers`, `rotation_answers`.

Rules:
1. Screens read fields of these types and nothing else. An answer that does not fit is told as such by the client,
   with and without `--json`: no screen can fail where `--json` does not.
2. A field that is missing is an error, never a silent "no": "nothing is cut" is not guessed. Fields that are new and
   unknown here are ignored by screens, and printed by `--json`, which shows the document as it came.
3. Words that the broker may add to (states, modes, kinds) are plain text here; screens have a way to show any.
"""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Answer(msgspec.Struct, dict=True):
    """Root of every answer."""

    @property
    def document(self) -> dict[str, Any]:
        """The answer as it came: what `--json` prints."""
        found = self.__dict__.get("document")
        return found if isinstance(found, dict) else dict(msgspec.to_builtins(self))


A = TypeVar("A", bound=Answer)


def read(kind: type[A], document: object) -> A:
    """Return a document as its type.

    Raises:
        ValueError: It does not fit; the message names the field, never what is in it.
    """
    try:
        found = msgspec.convert(document, kind)
    except msgspec.ValidationError as fault:
        raise ValueError(str(fault)) from None
    found.__dict__["document"] = document
    return found


def plain(value: object) -> object:
    """Return what JSON has no word for: an answer as it came, anything else as text."""
    return value.document if isinstance(value, Answer) else str(value)


class Heard(Answer):
    """Which gateways have a change in force."""

    asked: int
    acknowledged: int
    missing: list[str]
    after_ms: int
    worst_case_s: int
