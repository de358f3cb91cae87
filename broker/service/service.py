"""All use cases in one hand, and the facts of the home they work on."""

import secrets

from broker.db import history, meta, names
from broker.db.database import Database
from broker.errors import Conflict, StoreUnavailable
from broker.ports import Clock, SecretStore
from broker.service import act_times
from broker.service.accounts import Accounts
from broker.service.alerts import Alerts
from broker.service.audit import Audit
from broker.service.call_seal import CallSeal
from broker.service.calls import Calls
from broker.service.checkouts import Checkouts
from broker.service.conditions import Conditions
from broker.service.continuity import Continuity
from broker.service.credentials import Credentials
from broker.service.cuts import Cuts
from broker.service.desk import Desk, Home
from broker.service.destinations import Destinations
from broker.service.grants import Grants
from broker.service.keys import Keys
from broker.service.managers import Managers
from broker.service.mirror import Mirror
from broker.service.openings import Openings
from broker.service.operators import Operators
from broker.service.readiness import Ready
from broker.service.reconcile import Reconciliation
from broker.service.reports import Reports
from broker.service.retention import Retention
from broker.service.rotations import Rotations
from broker.service.schedules import Schedules
from broker.service.secrets import Secrets
from broker.steady import Moment
from clients.venue import Environment


class Service:
    """The broker's use cases."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.audit = Audit(desk)
        self.call_seal = CallSeal(desk)
        self.secrets = Secrets(desk, self.audit)
        self.accounts = Accounts(desk, self.audit, self.secrets)
        self.managers = Managers(desk, self.audit, self.secrets, self.accounts)
        self.keys = Keys(desk, self.audit)
        self.grants = Grants(desk, self.audit, self.secrets)
        self.continuity = Continuity(desk, self.audit)
        self.mirror = Mirror(desk, self.audit, self.continuity)
        self.cuts = Cuts(desk, self.audit, self.mirror)
        self.calls = Calls(desk, self.call_seal, self.audit)
        self.retention = Retention(desk, self.call_seal)
        self.credentials = Credentials(desk, self.audit, self.secrets)
        self.operators = Operators(desk, self.audit, self.credentials)
        self.reconciliation = Reconciliation(
            desk, self.audit, self.accounts, self.keys, self.managers, self.mirror
        )
        self.destinations = Destinations(desk, self.audit, self.secrets, self.accounts)
        self.checkouts = Checkouts(desk, self.audit, self.accounts)
        self.alerts = Alerts(desk, self.audit, self.secrets)
        self.ready = Ready(desk, self.accounts, self.keys)
        self.rotations = Rotations(desk, self.audit)
        self.schedules = Schedules(desk, self.audit)
        self.reports = Reports(desk)
        self.conditions = Conditions(
            desk, self.accounts, self.keys, self.cuts, self.credentials, self.ready, self.reports, self.alerts
        )
        self.openings = Openings(desk, self.audit, self.credentials)

    def is_name(self, text: str) -> bool:
        """Tell whether something on record has this name."""
        with self.desk.database.read() as connection:
            return names.is_name(connection, text)

    def close(self) -> None:
        """Let what works beside the use cases end."""
        self.cuts.closing.end()
        self.mirror.close()


def found_home(database: Database, environment: Environment, mode: str, now: Moment | None = None) -> Home:
    """Write down, once, what a home is for ever.

    Raises:
        Conflict: It was written down before.
    """
    home = Home(secrets.token_hex(8), environment, mode, 1)
    with database.write() as connection:
        if meta.read(connection):
            raise Conflict("founded", "this home was set up before; it keeps its environment for ever")
        meta.write(
            connection,
            {
                "instance": home.instance,
                "environment": environment.value,
                "mode": mode,
                "generation": "1",
                history.FACT: history.fresh(),
            }
            | act_times.facts(now or Moment("", 0, 0)),
        )
    return home


def is_founded(database: Database) -> bool:
    """Tell whether a migrated database holds somebody's state."""
    with database.read() as connection:
        return bool(meta.read(connection))


def open_home(database: Database) -> Home:
    """Read what a home is.

    Raises:
        StoreUnavailable: It was never set up.
    """
    with database.read() as connection:
        facts = meta.read(connection)
    if not facts:
        raise StoreUnavailable("no_home", "this home is not set up: run `portcullis init`")
    return Home(facts["instance"], Environment(facts["environment"]), facts["mode"], int(facts["generation"]))


def open_service(database: Database, secret_store: SecretStore, clock: Clock) -> Service:
    """Put the use cases together over an opened home."""
    return Service(Desk(database, secret_store, clock, open_home(database)))
