"""Pages that say what the code does are held to it."""

import re
from pathlib import Path

import pytest

from broker import policy_document
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
