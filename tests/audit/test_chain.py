"""Chains and their digests: every field of every record counts."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit import chain, checkpoint
from broker.audit.chain import FIRST, Entry, Record
from broker.audit.verify import verify


@given(
    st.integers(1, 8), st.integers(0, 7), st.sampled_from(["at_us", "actor", "action", "subject", "details"])
)
def test_any_field_of_any_record_counts(count: int, which: int, name: str) -> None:
    records, seq, previous = [], 0, FIRST
    for number in range(count):
        record = chain.follow("w", seq, previous, Entry(number, "a", "b", "c"))
        records.append(record)
        seq, previous = record.seq, record.digest
    assert verify(records, [], [], str).bad == []
    which %= count
    old = records[which]
    other = replace(old.entry, **{name: 99 if name == "at_us" else "other"})
    records[which] = Record("w", old.seq, other, old.previous, old.digest)
    first = verify(records, [], [], str).first_bad
    assert first is not None
    assert (first.kind, first.seq) == ("edited", old.seq)


@given(st.binary(min_size=1, max_size=200))
def test_a_line_of_rubbish_is_no_checkpoint(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        checkpoint.load(base64.b64encode(data).decode())
