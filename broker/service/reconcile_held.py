"""What becomes of each rotation that is held: a person says it, by what the exchange says of its keys. Pure.

A key whose secret is gone here is never asked with again: no comparison finds out more of it. A rotation whose new key
is such a one has nothing to go on with; the old one, which may be the only one with a secret, stays.
"""

from broker.service import deaths
from broker.service.reconcile_facts import Facts, Finding, Listing, Looked, OpenRotation, Step
from broker.service.reconcile_lists import AGAIN, LOST, bare
from broker.service.reconcile_steps import drop_of


def held(facts: Facts) -> tuple[Step, ...]:
    """Return what becomes of each rotation that is held: a person says it, by what the exchange says of its keys."""
    return tuple(_of_a_rotation(one, facts) for one in facts.rotations if one.held and not facts.superseded)


_TAKES_OLD = frozenset({"draining", "retiring-old", "cutting-over", "canary"})
"""States from which going on ends the old key."""

_GIVES_UP = frozenset({"draining", "canary"})
"""Those from which the old one can be taken back."""


def _of_a_rotation(one: OpenRotation, facts: Facts) -> Step:
    said = {row.key: row for row in facts.looked}
    names = [name for name in (one.old, one.new) if name]
    words = [f"{name} {_standing(name, said.get(name), facts)}" for name in names]
    listing = facts.listed.get(one.account, Listing(""))
    marks = tuple(f"{name} " for name in names)
    words += [
        bare(word) for word in listing.odd if word.startswith(marks) or listing.labels.get(word) == one.id
    ]
    what = (
        f"the rotation {one.id} stood in {one.state}, and is held: {one.held}. At the exchange "
        f"{', '.join(words)}"
    )
    drop = drop_of(one)
    resume = f"portcullis rotation resume {one.id}"
    back = (f'portcullis rotation rollback {one.id} --reason "restored"',) if one.state in _GIVES_UP else ()
    new = said.get(one.new)
    sure = new is not None and new.finding is Finding.ALIVE
    standing = [
        said[name].finding
        for name in names
        if name in said and name not in facts.deleted and not (sure and said[name].reason in LOST)
    ]
    if new is not None and new.reason in LOST and one.new not in facts.deleted:
        return Step(
            what,
            f"do NOT let it go on, and delete nothing for it: the secret of {one.new} is gone here. "
            f"{'Take the old one back, or drop it' if back else 'Drop it'}; then a fresh key is made, and only "
            "then what is too much is deleted",
            (*back, drop),
        )
    if new is None or new.finding is Finding.DEAD or one.new in facts.deleted:
        if one.state not in _TAKES_OLD:
            return Step(what, "drop it: it has nothing to go on with", (drop, resume))
        return Step(
            what,
            f"do NOT let it go on: it would end {one.old or 'what is left'}, and the new key does not live. "
            f"{'Take the old one back, or drop it' if back else 'Drop it'}; a key that is in use on record and dead "
            "needs a fresh one",
            (*back, drop),
        )
    if Finding.UNDECIDED in standing:
        return Step(
            what,
            "find out first which of its keys lives: one that goes on by a wrong record ends the only one that does",
            (AGAIN, *back, drop),
        )
    return Step(
        what,
        "let it go on if that is how it should be, or drop it: then nothing is asked of the exchange",
        (resume, *back, drop),
    )


def _standing(name: str, row: Looked | None, facts: Facts) -> str:
    if row is None:
        return deaths.says(facts.deaths[name]) if name in facts.deaths else "is not on record"
    return "is deleted, you say" if row.key in facts.deleted else f"is {_word(row)}"


def _word(row: Looked) -> str:
    return row.finding.value if not row.note else f"{row.finding.value} ({row.note})"
