"""What `reconcile` shows of a paper home is about no real exchange, and says so."""

import io
from typing import Any

import pytest
import typer
from rich.console import Console

from portcullis.cli import oversight_answers, reconcile
from portcullis.cli.face import Face


@pytest.mark.parametrize(("environment", "says"), [("paper", True), ("testnet", False), ("live", False)])
def test_a_paper_home_says_that_nothing_of_it_is_real(
    environment: str, says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It told its owner to look keys up at the exchange's API Management page: a real one."""
    step = oversight_answers.Todo(what="main: no manager key lists its keys", do="look up", commands=[])
    found = oversight_answers.Reconciled(
        well=False, keys=[], missing=[], steps=[step], environment=environment
    )

    class Api:
        def post(self, *_: Any) -> oversight_answers.Reconciled:
            return found

    monkeypatch.setattr(reconcile, "connect", lambda _: Api())
    shown = io.StringIO()
    with pytest.raises(typer.Exit):
        reconcile.reconcile(Face(out=Console(file=shown, width=80)))
    assert ("PAPER" in shown.getvalue()) is says
    assert ("about a real one" in " ".join(shown.getvalue().split())) is says
