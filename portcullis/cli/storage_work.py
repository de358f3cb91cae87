"""What `portcullis vault`, `store` and `db` do. Apart from the commands, because it loads half the world."""

from pathlib import Path

import typer
from rich.console import Console

from broker.errors import BrokerError
from broker.ports import SecretStore
from broker.stores.embedded import key
from broker.stores.embedded.store import EmbeddedStore
from broker.stores.vault.check import check as look
from broker.stores.vault.layout import VaultRole
from broker.stores.vault.session import Session, administrator
from broker.stores.vault.setup import KubernetesBinding, Plan, Way
from broker.stores.vault.setup import apply as carry_out
from portcullis import running, settings, stores
from portcullis.cli.face import FAILED, Face, Stopped
from portcullis.cli.inputs import secret_text
from portcullis.cli.offline import permitted
from portcullis.cli.tables import hanging, said
from portcullis.foundation import opened
from portcullis.settings import Home, SettingsError
from portcullis.store_move import Moved, copy
from portcullis.vault_settings import AppRoleDocument, KubernetesDocument, VaultDocument

_BOTH = (VaultRole.BROKER, VaultRole.ROTATOR)


def _vault(face: Face, path: Path | None) -> VaultDocument:
    if path is not None:
        return settings.read_file(VaultDocument, path, "--vault")
    found = face.home().vault
    if found is None:
        raise SettingsError(
            "--vault", "this home keeps its keys itself; name the file that describes the Vault"
        )
    return found


# --- vault ----------------------------------------------------------------------------------------


def setup(
    face: Face,
    path: Path | None,
    auth: str,
    namespace: str,
    token_file: Path | None,
    *,
    apply: bool,
    transit: bool,
) -> None:
    """Print the plan, or carry it out."""
    document = _vault(face, path)
    plan = Plan(
        document.mount,
        document.prefix,
        _way(auth),
        _auth_mount(document, auth),
        KubernetesBinding(namespace),
        transit,
    )
    steps = plan.steps()
    if not apply:
        listed = [{"why": step.why, "path": step.path, "body": dict(step.body)} for step in steps]

        def show(out: Console) -> None:
            out.print("# Nothing was changed. Run these with an administrator's token, or add --apply.")
            for step in steps:
                out.print(f"\n# {step.why}", markup=False, soft_wrap=True)
                out.print(step.as_command(), markup=False, soft_wrap=True)

        face.answer({"steps": listed}, show)
        return
    token = secret_text("Vault token of an administrator", token_file)
    try:
        with administrator(document.config(), token) as client:
            done = carry_out(client, steps)
    except BrokerError as fault:
        raise Stopped(
            f"Vault did not take it: {fault}", "Steps before it were done; doing them again is safe.",
            "The token must be allowed to write mounts, policies and auth roles.", reason=fault.reason,
        ) from None  # fmt: skip
    written = list(done)

    def show_done(out: Console) -> None:
        for line in written:
            out.print(hanging("[green]✓[/]", line, 0))
        out.print(said("  [dim]next[/] {}", _next(document)), soft_wrap=True)

    face.answer({"done": written}, show_done)


def _next(document: VaultDocument) -> str:
    match document.auth:
        case AppRoleDocument():
            wrap = "-wrap-ttl=120s " if document.auth.wrapped else ""
            what = "the wrapping token" if document.auth.wrapped else "the secret id"
            return (
                f"vault write {wrap}-f auth/{document.auth.mount}/role/{document.auth.role}/secret-id, put {what} "
                f"into {document.auth.secret_id_file} (0600), then `portcullis vault check`"
            )
        case KubernetesDocument():
            return "bind the service account, then `portcullis vault check` in the pod"
        case _:
            return "portcullis vault check"


def check(face: Face, path: Path | None) -> None:
    """Look at everything; exit 1 where something has to be done."""
    session = Session(_vault(face, path).config())
    try:
        findings = look(session, _BOTH)
    finally:
        session.close()
    rows = [{"what": one.what, "well": one.well, "remedy": one.remedy} for one in findings]

    def show(out: Console) -> None:
        for one in findings:
            out.print(hanging("[green]✓[/]" if one.well else "[red]✗[/]", one.what, 0))
            if one.remedy:
                out.print(said("  [dim]next[/] {}", one.remedy), soft_wrap=True)

    face.answer({"items": rows}, show)
    if not all(one.well for one in findings):
        raise typer.Exit(FAILED)


def _way(auth: str) -> Way:
    if auth == "approle":
        return "approle"
    if auth == "kubernetes":
        return "kubernetes"
    raise SettingsError("--auth", "is approle or kubernetes")


def _auth_mount(document: VaultDocument, auth: str) -> str:
    """Return the auth mount the document logs in at, where it logs in that way at all."""
    named = isinstance(document.auth, AppRoleDocument | KubernetesDocument) and document.auth.method == auth
    return document.auth.mount if named else ""  # type: ignore[union-attr] # a token has no mount


# --- store ----------------------------------------------------------------------------------------


def move(face: Face, to: str, path: Path | None) -> None:
    """Move every secret to the other store."""
    home = face.home()
    if to not in {"vault", "embedded"}:
        raise SettingsError("--to", "is vault or embedded")
    if (to == "vault") == (home.vault is not None):
        raise Stopped(f"The keys of this home are in the {to} store already.", reason="there_already")
    document = None
    if to == "vault":
        if path is None:
            raise SettingsError("--vault", "name the file that describes the Vault")
        document = settings.read_file(VaultDocument, path, "--vault")
    with running.held(home):
        with opened(home) as service:
            where = (
                "embedded"
                if document is None
                else f"{document.addresses[0]}/{document.mount}/{document.prefix}"
            )
            permitted(face, home, service, "store.move", where)
            with service.desk.database.write() as connection:
                service.audit.record(connection, "store.move", where)
        moved = _move(face, home, document)
    left = (
        f"{home.secrets} and {home.kek} still hold every key: keep them until a backup holds the new store, then "
        f"destroy them: shred -u {home.kek} && rm {home.secrets}*"
        if to == "vault"
        else "the Vault still holds every key: when all is well, destroy that mount or prefix there"
    )
    answer = {
        "to": to, "secrets": moved.secrets, "destroyed": moved.destroyed, "gates": moved.gates, "left": left
    }  # fmt: skip

    def show(out: Console) -> None:
        what = (
            f"{moved.secrets} secrets are in the {to} store and compared; labels of {moved.destroyed} destroyed ones "
            f"and {moved.gates} gate documents, too"
        )
        out.print(hanging("[green]✓[/]", what, 0))
        out.print(hanging("[yellow]![/]", left))
        out.print(said("  [dim]next[/] {}", face.command("run")), soft_wrap=True)

    face.answer(answer, show)


def _move(face: Face, home: Home, document: VaultDocument | None) -> Moved:
    source: SecretStore | None = None
    target: SecretStore | None = None
    try:
        source = stores.secrets_of(home)
        if document is not None:
            target = stores.vault_store(document)
        else:
            if not home.kek.exists():
                key.to_file(home.kek, key.fresh())
            target = EmbeddedStore(home.secrets, key.from_file(home.kek))
        moved = copy(source, target, lambda done, all_: _progress(face, done, all_))
        settings.change_vault(home, document)
    except BrokerError as fault:
        raise Stopped(
            str(fault), "The old store stays in use, whole; the target may hold copies.",
            "Mend it and run the same command again: it goes on where it was.", reason=fault.reason,
        ) from None  # fmt: skip
    finally:
        for store in (source, target):
            if store is not None:
                store.close()
    return moved


def _progress(face: Face, done: int, everything: int) -> None:
    if face.err.is_terminal and (done % 20 == 0 or done == everything):
        face.err.print(f"[dim]{done} of {everything}[/]", end="\r")


# --- db -------------------------------------------------------------------------------------------


def check_database(face: Face) -> None:
    """Look at the database."""
    home = face.home()
    database = stores.database_of(home)
    try:
        database.look()
    except BrokerError as fault:
        raise Stopped(str(fault), reason=fault.reason) from None
    finally:
        database.close()
    where = (
        "SQLite in this home" if home.database is None else f"PostgreSQL at {', '.join(home.database.hosts)}"
    )

    def show(out: Console) -> None:
        out.print(hanging("[green]✓[/]", f"{where}: schema and settings are as they must be", 0))
        if home.database is not None and home.database.single_node:
            what = "declared single-node: a failover may forget the last second, and closes everything"
            out.print(hanging("[yellow]![/]", what))

    face.answer({"database": where, "well": True}, show)


def upgrade_database(face: Face) -> None:
    """Bring the schema up."""
    home = face.home()
    with running.held(home):
        database = stores.database_of(home)
        try:
            database.upgrade()
            database.look()
        except BrokerError as fault:
            raise Stopped(str(fault), reason=fault.reason) from None
        finally:
            database.close()
    face.answer({"well": True}, lambda out: out.print("[green]✓[/] the schema is this program's"))
