"""What a request names to stop somebody, and why: no stop is refused for how that is said, only for what is absent."""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from broker.pasted import REMOVED, looks_secret
from broker.service.words import as_text, shortened

LONGEST_LOOKED_AT = 1500
"""Of a reason: three times what it may have, and a look at it costs the loop less than a millisecond."""


def _that_is_kept(text: object) -> object:
    if not isinstance(text, str):
        return text
    return REMOVED if looks_secret(text[:LONGEST_LOOKED_AT]) else shortened(as_text(text))


ClosingReason = Annotated[
    str, StringConstraints(min_length=1, max_length=500), BeforeValidator(_that_is_kept)
]
"""Why somebody is stopped: what looks like a secret is not kept, nor what is too long or no text, and no stop fails."""
Target = Annotated[str, StringConstraints(min_length=1, max_length=160)]
MOST_TARGETS = 500
"""Of one cut. They are closed at once; the record takes all of them in one write, and a heartbeat waits behind it."""


def _each_once(found: object) -> object:
    """Name nothing twice: what is said more often is no more than that."""
    is_texts = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return list(dict.fromkeys(found)) if isinstance(found, list) and is_texts else found


Targets = Annotated[list[Target], BeforeValidator(_each_once), Field(min_length=1, max_length=MOST_TARGETS)]
