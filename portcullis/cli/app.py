"""The command line put together."""

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


@app.callback(no_args_is_help=True)
def root(ctx: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take what holds for every command."""
    ctx.obj = Face(home, as_json)


lifecycle.register(app)
oversight.register(app)
people.register(app)
install.register(app)
reconcile.register(app)
readiness.register(app)
backups.register(app)
cuts.register(app)
app.add_typer(accounts.accounts, name="account")
app.add_typer(accounts.egresses, name="egress")
app.add_typer(keys.app, name="key")
app.add_typer(managers.app, name="manager")
app.add_typer(rotations.app, name="rotation")
app.add_typer(schedules.app, name="schedule")
app.add_typer(alerts.app, name="alerts")
app.add_typer(sweeps.app, name="sweep")
app.add_typer(destinations.app, name="destination")
app.add_typer(destinations.checkouts, name="checkout")
app.add_typer(consumers.app, name="consumer")
app.add_typer(grants.app, name="grant")
app.add_typer(grants.policies, name="policy")
app.add_typer(people.operators, name="operator")
app.add_typer(people.acts, name="act")
app.add_typer(audit.app, name="audit")
app.add_typer(backups.app, name="backup")
app.add_typer(storage.vaults, name="vault")
app.add_typer(storage.moves, name="store")
app.add_typer(storage.databases, name="db")
