"""The command line put together."""

from importlib import metadata
from typing import Annotated

import typer

from portcullis.cli import (
    accounts,
    alerts,
    audit,
    backups,
    consumers,
    cuts,
    destinations,
    grants,
    install,
    keys,
    lifecycle,
    managers,
    oversight,
    people,
    readiness,
    reconcile,
    rotations,
    schedules,
    storage,
    sweeps,
)
from portcullis.cli.blank import StrictGroup
from portcullis.cli.face import Face, HomeOption, JsonOption

app = typer.Typer(
    name="portcullis",
    cls=StrictGroup,
    help="Real exchange keys stay here; bots hold virtual ones; one command cuts them off.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"portcullis {metadata.version('portcullis')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
]


@app.callback(no_args_is_help=True)
def root(
    ctx: typer.Context, home: HomeOption = None, as_json: JsonOption = False, version: Version = False
) -> None:
    """Take what holds for every command."""
    del version  # it was answered before
    ctx.obj = Face(home, as_json)


lifecycle.register(app)
oversight.register(app)
people.register(app)
install.register(app)
reconcile.register(app)
readiness.register(app)
backups.register(app)
cuts.register(app)
app.add_typer(accounts.accounts, name="account", cls=StrictGroup)
app.add_typer(accounts.egresses, name="egress", cls=StrictGroup)
app.add_typer(keys.app, name="key", cls=StrictGroup)
app.add_typer(managers.app, name="manager", cls=StrictGroup)
app.add_typer(rotations.app, name="rotation", cls=StrictGroup)
app.add_typer(schedules.app, name="schedule", cls=StrictGroup)
app.add_typer(alerts.app, name="alerts", cls=StrictGroup)
app.add_typer(sweeps.app, name="sweep", cls=StrictGroup)
app.add_typer(destinations.app, name="destination", cls=StrictGroup)
app.add_typer(destinations.checkouts, name="checkout", cls=StrictGroup)
app.add_typer(consumers.app, name="consumer", cls=StrictGroup)
app.add_typer(grants.app, name="grant", cls=StrictGroup)
app.add_typer(grants.policies, name="policy", cls=StrictGroup)
app.add_typer(people.operators, name="operator", cls=StrictGroup)
app.add_typer(people.acts, name="act", cls=StrictGroup)
app.add_typer(audit.app, name="audit", cls=StrictGroup)
app.add_typer(backups.app, name="backup", cls=StrictGroup)
app.add_typer(storage.vaults, name="vault", cls=StrictGroup)
app.add_typer(storage.moves, name="store", cls=StrictGroup)
app.add_typer(storage.databases, name="db", cls=StrictGroup)
