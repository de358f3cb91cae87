"""The form of what Vault answers: by it, and by nothing less, is it told from what stands in front of it.

Seen with Vault 1.21.0: what a request came to has all of `_WHOLE`, whatever it was; a refusal has `errors`, a list of
texts, and at most `data` and `warnings` beside it; nothing there is 404 `{"errors":[]}`; a version that was deleted or
destroyed 404 with all of the form, and what it was; no such mount 404 "no handler for route". One word of it is not
enough: Kong's refusals have a `request_id`, too.
"""

from typing import Any

NO_BODY = 204
_REFUSES, _NOT_FOUND = 400, 404
_WHOLE = frozenset(
    {"request_id", "lease_id", "lease_duration", "renewable", "data", "auth", "wrap_info", "warnings"}
)
_REFUSAL = frozenset({"errors", "data", "warnings"})
_NEW = frozenset({"initialized"})


def is_vaults(status: int, said: Any) -> bool:
    """Tell whether an answer with a body has Vault's form."""
    if not isinstance(said, dict):
        return False
    if status < _REFUSES:
        return said.keys() >= _WHOLE or said.keys() == _NEW
    return _is_refusal(said) or (status == _NOT_FOUND and _is_gone(said))


def is_nothing(said: Any) -> bool:
    """Tell whether the body of a 404 is Vault's word that nothing is there, or that it was deleted."""
    return said == {"errors": []} or (isinstance(said, dict) and _is_gone(said))


def _is_refusal(said: dict[str, Any]) -> bool:
    errors = said.get("errors")
    return (
        isinstance(errors, list) and said.keys() <= _REFUSAL and all(isinstance(one, str) for one in errors)
    )


def _is_gone(said: dict[str, Any]) -> bool:
    """Tell whether this is a version that was deleted or destroyed."""
    data = said.get("data")
    if not said.keys() >= _WHOLE or not isinstance(data, dict) or data.get("data", "") is not None:
        return False
    about = data.get("metadata")
    return isinstance(about, dict) and type(about.get("version")) is int
