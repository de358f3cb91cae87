"""What a name that nothing is called by may have meant: a key id that was pasted, another kind, another spelling.

Asked only after a no, with the rights of who typed it: it names commands to paste and does nothing by itself. No list
is read to its end, however long: whoever cuts waits for the answer, and what was not read counts as being there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches

from broker import spelled
from broker.pasted import looks_secret
from portcullis.cli import access_answers
from portcullis.cli.answers import A
from portcullis.cli.client import Api
from portcullis.cli.face import Stopped
from portcullis.cli.tables import short

_OPTIONS = {"consumer": "--consumer", "account": "--account", "grant": "--grant", "key-version": "--key"}
_LISTS = {
    "consumer": "consumer list",
    "account": "account list",
    "grant": "grant list",
    "key-version": "key list",
}
ANYTHING = "name"
"""The kind of what was typed after no option: it may be the name of whatever there is."""

_LONGEST = 60
_MOST = 2_000
"""So many of a kind are looked at: ten pages."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One target as it was typed: whether it is there, and which options name what may be meant, best first.

    Of a kind that cannot be listed, or is too many to be, it counts as being there.
    """

    kind: str
    text: str
    there: bool
    options: tuple[str, ...]

    @property
    def option(self) -> str:
        """The option it was typed after."""
        return "a name after no option" if self.kind == ANYTHING else option_of(self.kind)

    @property
    def listing(self) -> str:
        """The command that lists its kind."""
        return _LISTS.get(self.kind, "status")

    @property
    def shown(self) -> str:
        """What was typed, but for what looks like a secret."""
        return (
            "as pasted (a key? it is not repeated)" if looks_secret(self.text) else repr(self.text[:_LONGEST])
        )


def option_of(kind: str) -> str:
    """Return the option that names something of a kind."""
    return _OPTIONS.get(kind, f"--{kind}")


def meant(api: Api, targets: list[str]) -> list[str]:
    """Return options that name what is there, best first: `--grant grt_...`; nothing where it cannot be looked up."""
    return list(dict.fromkeys(option for one in looked_up(api, targets) for option in one.options))


def looked_up(api: Api, targets: list[str]) -> list[Looked]:
    """Look up each target, in order; nothing where that cannot be done."""
    unread = set[str]()
    try:
        known = list(_known(api, unread))
    except Stopped:
        return []
    split = (target.partition(":") for target in targets)
    return [_as_typed(_look(kind, text.strip(), known, unread), text) for kind, _, text in split]


def _as_typed(looked: Looked, text: str) -> Looked:
    """Return what was found of a text: with blanks around it, it is no name, and what is within is what is meant."""
    return looked if looked.text == text else replace(looked, text=text, there=False)


def _look(kind: str, text: str, known: list[tuple[str, tuple[str, ...], str]], unread: set[str]) -> Looked:
    if kind == ANYTHING:
        found = [option for _, words, option in known if text in words]
        alike = {word.lower(): option for _, words, option in known for word in words}
        found = found or [alike[one] for one in get_close_matches(text.lower(), list(alike), 1, 0.75)]
        return Looked(kind, text, False, tuple(dict.fromkeys(found)))
    if kind not in _LISTS:
        return Looked(kind, text, True, (spelled.option(option_of(kind), text),))
    own = [option for of, words, option in known if of == kind and text == words[0]]
    exact = own or [option for _, words, option in known if text in words]
    if not own and kind in unread:  # it may be there: what is only like it would be somebody else's
        typed = [] if looks_secret(text) else [spelled.option(_OPTIONS[kind], text)]
        return Looked(kind, text, True, tuple(dict.fromkeys(typed + exact)))
    if not exact:
        alike = {word.lower(): option for of, words, option in known if of == kind for word in words}
        exact = [alike[one] for one in get_close_matches(text.lower(), list(alike), 1, 0.75)]
    return Looked(kind, text, bool(own), tuple(dict.fromkeys(exact)))


def _some(api: Api, row: type[A], path: str, kind: str, unread: set[str]) -> list[A]:
    """Return the first of a list; note where there are more."""
    rows = list(api.pages(row, path, most=_MOST + 1))
    if len(rows) > _MOST:
        unread.add(kind)
    return rows[:_MOST]


def _known(api: Api, unread: set[str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield everything a cut may name: its kind, what it may be called, its own name first, and the option for it."""
    for consumer in _some(api, access_answers.Consumer, "consumers", "consumer", unread):
        yield "consumer", (consumer.name,), f"--consumer {consumer.name}"
    for account in _some(api, access_answers.Account, "accounts", "account", unread):
        yield "account", (account.name,), f"--account {account.name}"
    for grant in _some(api, access_answers.Grant, "grants", "grant", unread):
        if grant.revoked_at is None:
            yield "grant", (grant.id, grant.key_id, short(grant.key_id)), f"--grant {grant.id}"
    for key in _some(api, access_answers.Key, "keys", "key-version", unread):
        if key.venue_key_id:
            yield "key-version", (key.ref, key.venue_key_id, short(key.venue_key_id)), f"--key {key.ref}"
        else:
            yield "key-version", (key.ref,), f"--key {key.ref}"
