"""Pages that say what the code does are held to it."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from broker import policy_document
from portcullis.cli.app import app
from portcullis.venues_page import page
from rotation.steps import RUNBOOKS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_venues_page_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "venues.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("runbook", sorted(set(RUNBOOKS.values())))
def test_every_runbook_a_stalled_rotation_points_at_is_there(runbook: str) -> None:
    assert len(list(ROOT.glob(f"docs/runbooks/{runbook}-*.md"))) == 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_policies_in_pages_can_be_used(path: Path) -> None:
    for text in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        if "allow" in text:
            policy_document.load(text)


def commands(text: str) -> list[str]:
    """Return the commands that a page prints whole: code in a line, or lines of blocks; alternatives are left out."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.split(" #")[0] for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    parts = [part.strip() for line in lines for part in line.split(";")]
    return [part for part in parts if part.startswith("portcullis ") and "|" not in part]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_in_pages_exist_with_their_options(path: Path) -> None:
    for line in commands(path.read_text(encoding="utf-8")):
        known: object = get_command(app)
        options: set[str] = {"--home", "--json"}
        for word in line.split()[1:]:
            inner = getattr(known, "commands", {})
            if word in inner:
                known = inner[word]
                options |= {option for one in known.params for option in one.opts}  # type: ignore[attr-defined]
        assert getattr(known, "commands", None) is None, f"{line}: names no command"
        for option in re.findall(r"(?<= )--[a-z][a-z-]*", re.sub(r'"[^"]*"', "", line)):
            assert option in options, f"{line}: has no {option}"
