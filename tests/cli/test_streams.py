"""The program on consoles that lack characters, and in pipes whose reader went away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = (sys.executable, "-m", "portcullis")
LOCALES = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}


@pytest.mark.parametrize("locale", sorted(LOCALES))
def test_no_character_stops_a_command(locale: str, tmp_path: Path) -> None:
    """The marks of ours have plain stand-ins; what has none is a question mark, and never an error."""
    home = str(tmp_path / "h\N{SNOWMAN}me")
    made = subprocess.run(
        [*PROGRAM, "--home", home, "init", "--environment", "paper", "--mode", "solo"],
        capture_output=True, check=False, env=os.environ | LOCALES[locale],
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert b"Traceback" not in made.stderr
    mark = "\N{CHECK MARK}".encode() if locale == "utf-8" else b"+"
    assert made.stdout.startswith(mark)
    failed = subprocess.run(
        [*PROGRAM, "--home", home, "status"],
        capture_output=True,
        check=False,
        env=os.environ | LOCALES[locale],
    )
    assert failed.returncode == 1
    assert b"Traceback" not in failed.stderr
    assert failed.stdout == b""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("demo", "--help"), ("install", "--environment", "paper", "--dry-run")]
)
def test_a_reader_that_has_enough_ends_a_command_quietly(arguments: tuple[str, ...]) -> None:
    """As in `portcullis ... | head -1`: nothing on stderr."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*PROGRAM, *arguments], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


def test_bytes_that_are_no_text_are_a_no_and_no_crash(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    subprocess.run(
        [*PROGRAM, "--home", home, "init", "--environment", "paper", "--mode", "solo"],
        capture_output=True, check=True,
    )  # fmt: skip
    name = os.fsdecode(b"b\xff")
    done = subprocess.run(
        [*PROGRAM, "--home", home, "policy", "check", name], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
