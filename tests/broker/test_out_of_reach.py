"""A PostgreSQL that is not there, or lets nobody in, is told with what to look at, and without what was in its text."""

import psycopg
import pytest
import sqlalchemy as sa

from broker.db.faults import translated


def test_a_server_that_gives_no_code_is_told_with_what_to_look_at() -> None:
    """`the database cannot answer (OperationalError)` was all that `init`, `run` and `db check` said."""
    fault = sa.exc.OperationalError(
        "SELECT", None, psycopg.OperationalError("connection to 10.0.0.9 failed: password x")
    )
    said = str(translated(fault))
    assert "does it run" in said
    assert "password x" not in said
    assert "10.0.0.9" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("server does not support SSL, but SSL was required", "ssl_mode"),
        ('connection to server at "10.0.0.1", port 5432 failed: Connection refused', "Does it run?"),
        ('FATAL:  password authentication failed for user "planted"', "our user and password"),
        ("fe_sendauth: no password supplied", "password_file"),
        ('could not translate host name "planted" to address: Name or service not known', "resolver"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "planted"', "pg_hba.conf"),
        ("SSL error: certificate verify failed", "ca_file"),
        ("what no version said yet", "does it run"),
    ],
)
def test_why_a_server_does_not_let_us_in_is_said_without_its_words(words: str, says: str) -> None:
    """A server without TLS was told of as any other, and its log held no line of it."""
    said = str(translated(sa.exc.OperationalError("", {}, psycopg.OperationalError(words))))
    assert says in said
    assert "planted" not in said
