"""Who may write into the secret store may write again: what stands there now counts, not what was read once.

A responder cuts there while the broker is in doubt, under a name of their own. Written again after its thaw, or made
stricter, it was never in force: each name was read once in the life of a broker.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from broker import gate_document
from broker.db import rows, tables
from broker.errors import Conflict, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, new_id
from broker.service import mirrored
from broker.service.mirrored import GIVEN_AGAIN, OURS_AGAIN, Turns
from tests.broker.test_put_back import Life, found

PANIC = NotedCut("panic", Mode.CLOSED, (EVERYTHING,), "a thief", "ann", 1_000_000)
BOT, OTHER = "consumer:bot", "consumer:other"
ODD_BOT = replace(PANIC, mode=Mode.HALT, scopes=(BOT,), reason="odd")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found(tmp_path)
    with Life(tmp_path) as life:
        life.changes("bot")
        life.changes("other")
    return tmp_path


def write(life: Life, cut: NotedCut | str, name: str = PANIC.id) -> None:
    """Write into the secret store as a person does: over what is there, whatever it is."""
    document = cut if isinstance(cut, str) else gate_document.dump(cut)
    life.secrets.mirror.change(name, lambda _: document)


def merged(life: Life) -> None:
    life.service.mirror.merge()


def mode(life: Life, scope: str) -> Mode:
    with life.database.read() as connection:
        gate = rows.gates(connection).get(scope)
        return Mode.OPEN if gate is None else gate.mode


def thaw(life: Life, cut: str = PANIC.id) -> None:
    life.service.cuts.thaw(cut, reason="over", actor="me")


def records(life: Life, action: str) -> int:
    with life.database.read() as connection:
        query = select(func.count()).select_from(tables.AUDIT).where(tables.AUDIT.c.action == action)
        return int(connection.execute(query).scalar_one())


def in_force(life: Life) -> list[tuple[str, Mode, tuple[str, ...], str]]:
    return [
        (one.id, one.mode, one.scopes, one.reason) for one in life.service.cuts.list(open_only=True).items
    ]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "again",
    [
        PANIC,
        replace(PANIC, reason="a thief again, a month later", opened_us=2_000_000),
        replace(PANIC, mode=Mode.HALT, opened_us=2_000_000),
        replace(PANIC, scopes=(BOT,), opened_us=2_000_000),
    ],
    ids=["the same", "another reason", "a halt", "one bot"],
)
def test_a_cut_that_is_written_again_after_its_thaw_is_in_force(
    home: Path, again: NotedCut, *, restarted: bool
) -> None:
    with Life(home) as life:
        write(life, PANIC)
        merged(life)
        thaw(life)
        merged(life)
        assert mode(life, EVERYTHING) is Mode.OPEN
        write(life, again)
        if not restarted:
            merged(life)
            assert in_force(life) == [("panic", again.mode, again.scopes, again.reason)]
    with Life(home) as life:
        assert in_force(life) == [("panic", again.mode, again.scopes, again.reason)], (
            "and no more than it says"
        )
        assert mode(life, again.scopes[0]) is again.mode
        thaw(life)
        assert mode(life, again.scopes[0]) is Mode.OPEN


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "stricter",
    [
        replace(ODD_BOT, mode=Mode.CLOSED),
        replace(ODD_BOT, scopes=(BOT, OTHER)),
        replace(ODD_BOT, mode=Mode.CLOSED, scopes=(EVERYTHING,)),
        replace(ODD_BOT, mode=Mode.CLOSED, scopes=(OTHER,)),
    ],
    ids=["closed", "one more", "closed for all", "another"],
)
def test_a_cut_that_was_made_stricter_is_in_force_as_it_says_now(
    home: Path, stricter: NotedCut, *, restarted: bool
) -> None:
    """After a restart as well: it was looked up by its id alone whether it stands."""
    stricter = replace(stricter, reason="a thief after all", actor="bob", opened_us=3_000_000)
    with Life(home) as life:
        write(life, ODD_BOT)
        merged(life)
        assert mode(life, BOT) is Mode.HALT
        write(life, stricter)
        if not restarted:
            merged(life)
    with Life(home) as life:
        for scope in stricter.scopes:
            assert mode(life, scope) is stricter.mode
        assert mode(life, BOT) is not Mode.OPEN, "what it held it holds"
        (cut,) = life.service.cuts.list(open_only=True).items
        assert (cut.mode, cut.reason, cut.actor) == (stricter.mode, "a thief after all", "bob")
        assert set(cut.scopes) == {BOT, *stricter.scopes}
        (told,) = (one for one in life.service.conditions.look() if one.kind == "cut")
        assert "a thief after all" in told.says
        thaw(life)
        assert all(mode(life, scope) is Mode.OPEN for scope in cut.scopes)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_cut_of_ours_that_a_person_makes_stricter_there_is_in_force_as_it_says(
    home: Path, *, restarted: bool
) -> None:
    with Life(home) as life:
        made, _ = life.service.cuts.close(targets=(BOT,), mode=Mode.HALT, reason="odd", actor="me")
        merged(life)
        text = life.secrets.mirror.read(made.id)
        assert text is not None
        write(life, json.dumps(json.loads(text) | {"mode": "closed", "scopes": [EVERYTHING]}), made.id)
        if not restarted:
            merged(life)
            assert mode(life, EVERYTHING) is Mode.CLOSED
    with Life(home) as life:
        assert mode(life, EVERYTHING) is Mode.CLOSED


def test_what_is_written_there_looser_opens_nothing(home: Path) -> None:
    with Life(home) as life:
        write(life, PANIC)
        merged(life)
        write(life, ODD_BOT)
        merged(life)
        assert mode(life, EVERYTHING) is Mode.CLOSED
    with Life(home) as life:
        assert mode(life, EVERYTHING) is Mode.CLOSED


def test_another_broker_thawed_it_and_the_same_is_written_again(home: Path) -> None:
    """This one never saw that it was thawed: it compares with the record, not with what it read before."""
    with ExitStack() as both:
        one = both.enter_context(Life(home))
        write(one, PANIC)
        merged(one)
        other = both.enter_context(Life(home))
        thaw(other)
        write(one, PANIC)
        merged(one)
        assert mode(one, EVERYTHING) is Mode.CLOSED


@pytest.mark.parametrize("written", [PANIC, None], ids=["by a person", "by us"])
def test_what_was_thawed_and_nobody_wrote_again_stays_open(home: Path, written: NotedCut | None) -> None:
    with Life(home) as life:
        if written is None:
            name = life.service.cuts.close(targets=(BOT,), mode=Mode.CLOSED, reason="x", actor="me")[0].id
        else:
            name = written.id
            write(life, written)
        merged(life)
        thaw(life, name)
        for _ in range(3):
            merged(life)
            assert in_force(life) == []
    with Life(home) as life:
        merged(life)
        assert in_force(life) == []


def test_what_stands_there_unchanged_is_put_on_record_once(home: Path) -> None:
    """Also where it names somebody who is not there: beside a cut on record nobody is stopped by that name."""
    with Life(home) as life:
        write(life, replace(PANIC, scopes=(BOT, "consumer:unheard-of")))
        cut, _ = life.service.cuts.close(targets=(BOT,), mode=Mode.CLOSED, reason="x", actor="me")
        merged(life)
        text = life.secrets.mirror.read(cut.id)
        assert text is not None
        write(life, json.dumps(json.loads(text) | {"scopes": [BOT, "consumer:unheard-of"]}), cut.id)
        for _ in range(3):
            merged(life)
        assert records(life, "cut.adopt") == 1
        life.changes("unheard-of")
        merged(life)
        assert mode(life, "consumer:unheard-of") is Mode.CLOSED
        assert records(life, "cut.adopt") == 2


@pytest.mark.parametrize(
    "again", [replace(PANIC, scopes=(EVERYTHING,)), "{"], ids=["stricter", "no document"]
)
@pytest.mark.parametrize("ours", [False, True])
def test_no_thaw_wipes_out_what_nobody_has_seen(home: Path, again: NotedCut | str, *, ours: bool) -> None:
    """The thaw is written over the document: what a responder had written there a second before was gone."""
    with Life(home) as life:
        if ours:
            name = life.service.cuts.close(targets=(BOT,), mode=Mode.CLOSED, reason="x", actor="me")[0].id
        else:
            name = PANIC.id
            write(life, ODD_BOT)
        merged(life)
        write(life, again if isinstance(again, str) else replace(again, id=name), name)
        with pytest.raises(Conflict, match="NOTHING was opened"):
            thaw(life, name)
        assert mode(life, EVERYTHING) is Mode.CLOSED, "it is taken in at once"
        assert mode(life, BOT) is not Mode.OPEN
        thaw(life, name)
        assert mode(life, BOT) is Mode.OPEN
        if isinstance(again, str):
            assert mode(life, EVERYTHING) is Mode.CLOSED, "that has a cut of its own"


def test_a_thaw_can_be_made_over_a_scope_that_nobody_stands_in(home: Path) -> None:
    with Life(home) as life:
        cut, _ = life.service.cuts.close(targets=(BOT,), mode=Mode.CLOSED, reason="x", actor="me")
        merged(life)
        write(life, replace(PANIC, id=cut.id, scopes=(BOT, "consumer:unheard-of")), cut.id)
        thaw(life, cut.id)
        merged(life)
        assert in_force(life) == []


def test_other_words_that_nobody_understands_close_again(home: Path) -> None:
    """The cut in the place of such a document was known by its name alone: once thawed, no other one closed."""
    with Life(home) as life:
        write(life, "{")
        merged(life)
        ((first, *_),) = in_force(life)
        thaw(life, first)
        merged(life)
        assert in_force(life) == [], "the same one stays thawed"
        write(life, "[")
        merged(life)
        ((second, *_),) = in_force(life)
        assert second != first
    with Life(home) as life:
        assert [one[0] for one in in_force(life)] == [second]
        assert mode(life, EVERYTHING) is Mode.CLOSED


@pytest.mark.parametrize("name", ["panic", ""])
def test_what_was_deleted_there_while_it_holds_is_written_there_again(home: Path, name: str) -> None:
    """A database that is put back would have forgotten it, and nothing else knew of it."""
    with Life(home) as life:
        if name:
            write(life, PANIC)
        else:
            name = life.service.cuts.close(targets=(BOT,), mode=Mode.CLOSED, reason="x", actor="me")[0].id
        merged(life)
        with life.secrets._transaction() as connection:
            connection.execute("DELETE FROM gates WHERE name = ?", (name,))
        merged(life)
        text = life.secrets.mirror.read(name)
        assert text is not None
        assert gate_document.load(name, text).thawed_us is None


def test_a_document_that_is_deleted_as_it_is_read_again_is_written_there_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault lists what was deleted there."""
    with Life(home) as life:
        write(life, PANIC)
        merged(life)
        mirror = type(life.secrets.mirror)
        with monkeypatch.context() as patch:
            patch.setattr(mirror, "read", but_of(mirror.read, "panic"))
            merged(life)
        assert not life.service.mirror.has("panic")
        merged(life)
        assert life.service.mirror.has("panic")


def but_of(read: Callable[[Any, str], str | None], gone: str) -> Callable[[Any, str], str | None]:
    return lambda mirror, name: None if name == gone else read(mirror, name)


def test_what_the_guide_tells_to_write_is_a_cut(home: Path) -> None:
    guide = Path(__file__).parents[2] / "docs/guides/on-call.md"
    (document,) = re.findall(r"document='(\{.*\})'", guide.read_text())
    name = json.loads(document)["cut"]
    with Life(home) as life:
        write(life, document, name)
        merged(life)
        ((found_name, how, scopes, _),) = in_force(life)
        assert (found_name, how, scopes) == (name, Mode.CLOSED, (EVERYTHING,))


# --- how much of it, and in which order ---------------------------------------------------------


def test_each_document_is_read_again_in_its_turn_and_a_round_reads_no_more_than_it_may() -> None:
    given = [f"panic-{number}" for number in range(2 * GIVEN_AGAIN + 1)]
    ours = [new_id("cut") for _ in range(4 * OURS_AGAIN + 1)]
    turns, read = Turns(), Counter[str]()
    for _ in range(5):
        some = list(turns.next([*given, *ours]))
        assert len(some) == GIVEN_AGAIN + OURS_AGAIN
        read.update(some)
    assert set(read) == {*given, *ours}
    assert max(read.values()) - min(read[name] for name in given) <= 2


def test_a_few_given_names_are_read_again_at_each_round() -> None:
    turns, ours = Turns(), [new_id("cut") for _ in range(1000)]
    for _ in range(3):
        assert "panic" in list(turns.next(["panic", *ours]))


def test_one_that_cannot_be_read_keeps_no_other_from_its_turn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored, "GIVEN_AGAIN", 1)
    with Life(home) as life:
        write(life, replace(ODD_BOT, id="a"), "a")
        write(life, replace(ODD_BOT, id="b"), "b")
        merged(life)
        mirror = type(life.secrets.mirror)
        real = mirror.read

        def read(self: Any, name: str) -> str | None:
            if name == "a":
                raise StoreUnavailable("odd_answer", "planted")
            return real(self, name)

        monkeypatch.setattr(mirror, "read", read)
        write(life, replace(ODD_BOT, id="b", mode=Mode.CLOSED), "b")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="planted"):  # which is told, as each failure is
                merged(life)
        assert mode(life, BOT) is Mode.CLOSED


def test_a_slow_store_ends_the_round(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Life(home) as life:
        for number in range(5):
            write(life, replace(ODD_BOT, id=f"panic-{number}"), f"panic-{number}")
        merged(life)
        mirror, clock = type(life.secrets.mirror), life.service.desk.clock
        real, later, asked = mirror.read, [0], list[str]()
        boot_us = clock.boot_us

        def read(self: Any, name: str) -> str | None:
            if name.startswith("panic"):
                asked.append(name)
                later[0] += 700_000
            return real(self, name)

        monkeypatch.setattr(mirror, "read", read)
        monkeypatch.setattr(clock, "boot_us", lambda: boot_us() + later[0])
        merged(life)
        assert asked == ["panic-0", "panic-1"]
        merged(life)
        assert asked[2:] == ["panic-2", "panic-3"]
