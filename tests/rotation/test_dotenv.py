"""A dotenv file is read as its readers read it: values in quotes may span lines, and end at their closing quote."""

from pathlib import Path

import pytest

from rotation.destinations.parcel import NotDelivered, WrittenOver
from tests.rotation.test_destinations import PEM, dotenv, parcel

OLD_PEM = "-----BEGIN PRIVATE KEY-----\nMC4OLD=\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_a_value_that_spans_lines_is_replaced_whole(tmp_path: Path, quote: str) -> None:
    """A PEM key in quotes is replaced up to its closing quote: no line of the old key stays."""
    path = tmp_path / ".env"
    path.write_text(f"A=1\nAPI_SECRET={quote}{OLD_PEM}{quote}\nAPI_KEY=old\r\nLAST=1\n")
    place = dotenv(path)
    with pytest.raises(WrittenOver, match="holds another key"):
        place.confirm(parcel(secret=PEM))
    place.deliver(parcel(secret=PEM))
    (secret,) = [line for line in path.read_text().split("\n") if "PRIVATE" in line]
    assert path.read_bytes().decode() == f"A=1\n{secret}\nAPI_KEY=KEY2\r\nLAST=1\n"
    assert place.confirm(parcel(secret=PEM)) == ""


def test_a_key_that_somebody_wrote_over_several_lines_is_read_as_it_is(tmp_path: Path) -> None:
    """What a dotenv reader takes for the key counts, not how it is written down."""
    path = tmp_path / ".env"
    path.write_text(f'API_KEY="KEY2" # mine\nAPI_SECRET="{PEM}"\n')
    assert dotenv(path).confirm(parcel(secret=PEM)) == ""


def test_a_line_inside_somebodys_quoted_value_is_not_ours(tmp_path: Path) -> None:
    """A name of ours inside another's value over several lines is text, and stays."""
    path = tmp_path / ".env"
    path.write_text('NOTE="first\nAPI_KEY=in a note\nlast"\nAPI_KEY=old\nAPI_SECRET=old\n')
    dotenv(path).deliver(parcel())
    assert path.read_text() == (
        'NOTE="first\nAPI_KEY=in a note\nlast"\nAPI_KEY=KEY2\nAPI_SECRET=planted-secret\n'
    )


@pytest.mark.parametrize("line", ['API_SECRET="-----BEGIN', 'API_SECRET="a"b', "API_SECRET='it's"])
def test_a_quote_that_is_not_closed_is_refused_and_the_file_stays(tmp_path: Path, line: str) -> None:
    """Where a value of ours ends cannot be told, nothing is written and the name is said."""
    path = tmp_path / ".env"
    path.write_text(f"API_KEY=old\n{line}\nMC4OLD\n")
    with pytest.raises(NotDelivered, match="API_SECRET"):
        dotenv(path).deliver(parcel())
    assert path.read_text() == f"API_KEY=old\n{line}\nMC4OLD\n"


def test_anothers_open_quote_hides_no_line_of_ours(tmp_path: Path) -> None:
    """A quote of somebody else's that is never closed is one line, as it was."""
    path = tmp_path / ".env"
    path.write_text("MOTTO='tis\nAPI_KEY='old'\nAPI_SECRET=old")
    dotenv(path).deliver(parcel())
    assert path.read_text() == "MOTTO='tis\nAPI_KEY=KEY2\nAPI_SECRET=planted-secret"
