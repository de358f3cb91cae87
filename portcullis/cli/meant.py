"""What a name that nothing is called by may have meant: a key id that was pasted, another kind, another spelling.

Asked only after a no, with the rights of who typed it: it names commands to paste and does nothing by itself.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from portcullis.cli import access_answers
from portcullis.cli.client import Api
from portcullis.cli.face import Stopped
from portcullis.cli.tables import short


def meant(api: Api, targets: list[str]) -> list[str]:
    """Return options that name what is there, best first: `--grant grt_...`; nothing where it cannot be looked up."""
    try:
        known = list(_known(api))
    except Stopped:
        return []
    found: list[str] = []
    for target in targets:
        kind, _, text = target.partition(":")
        text = text.strip()
        exact = [option for _, words, option in known if text in words]
        if not exact:
            alike = {word.lower(): option for of, words, option in known if of == kind for word in words}
            exact = [alike[one] for one in get_close_matches(text.lower(), list(alike), 1, 0.75)]
        found += [one for one in exact if one not in found]
    return found


def _known(api: Api) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield everything a cut may name: its kind, what it may be called, and the option that names it."""
    for consumer in api.pages(access_answers.Consumer, "consumers"):
        yield "consumer", (consumer.name,), f"--consumer {consumer.name}"
    for account in api.pages(access_answers.Account, "accounts"):
        yield "account", (account.name,), f"--account {account.name}"
    for grant in api.pages(access_answers.Grant, "grants"):
        if grant.revoked_at is None:
            yield "grant", (grant.id, grant.key_id, short(grant.key_id)), f"--grant {grant.id}"
    for key in api.pages(access_answers.Key, "keys"):
        if key.venue_key_id:
            yield "key-version", (key.ref, key.venue_key_id, short(key.venue_key_id)), f"--key {key.ref}"
        else:
            yield "key-version", (key.ref,), f"--key {key.ref}"
