"""Where each runbook is: on a screen it is named by its page, for its number alone finds nothing."""

import re

PAGES = {
    f"RB-{number:02}": f"docs/runbooks/RB-{number:02}-{name}.md"
    for number, name in enumerate(
        (
            "leaked-key", "gates-cannot-be-read", "secret-store", "spool", "closed-by-itself", "audit",
            "create-in-doubt", "current-not-moved", "still-in-use", "will-not-die", "cut-not-on-record", "failover",
            "restored-elsewhere", "superseded-host", "vault-put-back",
        ),
        1,
    )
}  # fmt: skip
"""By number."""

_NUMBER = re.compile(r"(?<![\w/])RB-\d\d(?![\w-])")


def paged(text: str) -> str:
    """Return prose with each runbook in it named by its page."""
    return _NUMBER.sub(lambda one: PAGES.get(one[0], one[0]), text)
