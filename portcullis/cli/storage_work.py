"""What `portcullis vault`, `store` and `db` do. Apart from the commands, because it loads half the world."""

from pathlib import Path

import typer
from rich.console import Console

from broker.audit.chain import Detail
from broker.deeds import Deed
from broker.errors import BrokerError
from broker.model import Death, Stage
from broker.ports import SecretStore
from broker.service import Service
from broker.stores.embedded import key
from broker.stores.vault.check import check as look
from broker.stores.vault.layout import VaultRole
from broker.stores.vault.session import Session, administrator
from broker.stores.vault.setup import KubernetesBinding, Plan, Way
from broker.stores.vault.setup import apply as carry_out
from portcullis import running, settings, stores
from portcullis.cli.face import FAILED, Face, Stopped, shown_path
from portcullis.cli.inputs import secret_text
from portcullis.cli.offline import permitted
from portcullis.cli.pages import PAGES
from portcullis.cli.store_shown import lines_of
from portcullis.cli.tables import hanging, said
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import is_unused, opened
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
        for line in _next(face, document, path):
            out.print(said("  [dim]next[/] {}", line), soft_wrap=True)

    face.answer({"done": written}, show_done)


def _next(face: Face, document: VaultDocument, path: Path | None) -> list[str]:
    """Return what is left to do, each line a command to paste."""
    named = "" if path is None else f" --vault {shown_path(path)}"
    look_again = face.command("vault check" + named)
    match document.auth:
        case AppRoleDocument():
            return [*secret_id_lines(document.auth, None if path is None else str(path)), look_again]
        case KubernetesDocument():
            return [f"{look_again}  # in the pod, once its service account is bound"]
        case _:
            return [look_again]


def secret_id_lines(auth: AppRoleDocument, described: str | None) -> list[str]:
    """Return the commands that read the role id and make a secret id for each process that logs in."""
    where = f"auth/{auth.mount}/role/{auth.role}"
    field, wrap = ("wrapping_token", " -wrap-ttl=10m") if auth.wrapped else ("secret_id", "")
    files = [auth.secret_id_file, *([auth.rotator_secret_id_file] if auth.rotator_secret_id_file else [])]
    return [
        f"vault read -field=role_id {where}/role-id  # it is role_id in {described or 'home.json'}",
        *(
            f"(umask 077 && vault write -field={field}{wrap} -f {where}/secret-id > {shown_path(file.expanduser())})"
            for file in files
        ),
        *(
            ["# a wrapped one is used up by each check, init and start: make another before each"]
            if wrap
            else []
        ),
    ]


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
    with running.held(home), opened(home) as service:
        where = (
            "embedded" if document is None else f"{document.addresses[0]}/{document.mount}/{document.prefix}"
        )
        service.desk.guard.ensure(Deed.MOVE_STORE)
        shows = lines_of(home, document)
        with permitted(face, home, service, "store.move", where[:200], shows):
            moved = _move(face, home, service, document, where[:200], {"what": list(shows)})
    left = (
        f"{home.secrets} and {home.kek} still hold every key: keep them until a backup holds the new store, then "
        f"destroy them: shred -u {home.kek} && rm {home.secrets}*"
        if to == "vault"
        else "the Vault still holds every key: when all is well, destroy that mount or prefix there"
    )
    answer = {
        "to": to, "secrets": moved.secrets, "destroyed": moved.destroyed, "gates": moved.gates, "left": left,
        "not_proven_dead": list(moved.left), "lost": list(moved.lost),
    }  # fmt: skip

    def show(out: Console) -> None:
        what = (
            f"{moved.secrets} secrets are in the {to} store and compared; labels of {moved.destroyed} destroyed ones "
            f"and {moved.gates} gate documents, too"
        )
        out.print(hanging("[green]✓[/]", what, 0))
        out.print(hanging("[yellow]![/]", left))
        for one in moved.lost:
            what = f"{one} was NOT moved: that secret is lost, and cannot be read. What is left is in the old store"
            out.print(hanging("[yellow]![/]", what))
        for one in moved.left:
            what = (
                f"{one} lives in the {to} store, from an earlier move, and no longer in the store of before; the "
                "record has it as no dead key, so it was left: look whose it is, and destroy it there by hand"
            )
            out.print(hanging("[yellow]![/]", what))
        out.print(said("  [dim]next[/] {}", face.command("run")), soft_wrap=True)

    face.answer(answer, show)


def _move(
    face: Face,
    home: Home,
    service: Service,
    document: VaultDocument | None,
    where: str,
    details: dict[str, Detail],
) -> Moved:
    """Copy everything, then let the home use the copy; what was approved for that is used up by the second alone."""
    target: SecretStore | None = None
    try:
        with service.desk.database.write() as connection:
            service.audit.record(connection, "store.move-begin", where, details)
        dead = {
            key.path
            for key in service.keys.list()
            if key.stage is Stage.TOMBSTONE and (key.death is Death.PROVEN or not key.venue_key_id)
        }
        if document is not None:
            target = stores.vault_store(document)
        else:
            if not home.kek.exists():
                key.to_file(home.kek, key.fresh())
            target = stores.embedded_store(home)
        moved = copy(service.desk.secrets, target, lambda done, all_: _progress(face, done, all_), dead)
        _switch(home, service, document, where, details)
    except BrokerError as fault:
        raise Stopped(
            str(fault), "The old store stays in use, whole; the target may hold copies.",
            "Mend it and run the same command again: it goes on where it was.", reason=fault.reason,
        ) from None  # fmt: skip
    finally:
        if target is not None:
            target.close()
    return moved


def _switch(
    home: Home, service: Service, document: VaultDocument | None, where: str, details: dict[str, Detail]
) -> None:
    """Let the home use the other store, as is put on record; neither where one of them cannot be."""
    switched = False
    try:
        with service.desk.database.write() as connection:
            service.audit.record(connection, "store.move", where, details)
            settings.change_vault(home, document)
            switched = True
    except BaseException:
        if switched:
            settings.change_vault(home, home.vault)
        raise


def _progress(face: Face, done: int, everything: int) -> None:
    if face.err.is_terminal and (done % 20 == 0 or done == everything):
        face.err.print(f"[dim]{done} of {everything}[/]", end="\r")


# --- db -------------------------------------------------------------------------------------------


def check_database(face: Face, path: Path | None) -> None:
    """Look at the database of the home, or at one that a file describes: nobody need use it yet."""
    document = (
        face.home().database if path is None else settings.read_file(DatabaseDocument, path, "--database")
    )
    database = stores.database_of(face.home()) if document is None else stores.postgres_of(document)
    unused = False
    try:
        try:
            database.look(fresh=path is not None)
        except BrokerError as fault:
            if path is None or not is_unused(fault):
                raise
            unused = True
        off = database.set_otherwise()
    except BrokerError as fault:
        if document is None:
            raise Stopped(str(fault), reason=fault.reason) from None
        step = f"Look whether that server runs and lets us in: its own log, and {PAGES['RB-02']}."
        if fault.reason.startswith("postgres_"):
            step = (
                "It runs and lets us in: set there what this says, then check again (docs/guides/stores.md)."
            )
        raise Stopped(
            f"PostgreSQL at {', '.join(document.hosts)}: {fault}", step=step, reason=fault.reason
        ) from None
    finally:
        database.close()
    well = not any(one.harms for one in off)
    where = "SQLite in this home" if document is None else f"PostgreSQL at {', '.join(document.hosts)}"

    def show(out: Console) -> None:
        how = "the schema is ours, and these settings are not" if off else "schema and settings are"
        if unused:
            how = (
                "nobody uses it yet; these settings are not"
                if off
                else "nobody uses it yet, and its settings are"
            )
        out.print(hanging("[green]✓[/]", f"{where}: {how} as they must be", 0))
        for one in off:
            out.print(hanging("[red]✗[/]" if one.harms else "[yellow]![/]", one.says, 0))
        if document is not None and document.single_node:
            what = "declared single-node: a failover may forget the last second, and closes everything"
            out.print(hanging("[yellow]![/]", what))

    named = [{"setting": one.name, "value": one.value, "says": one.says, "harms": one.harms} for one in off]
    face.answer({"database": where, "well": well, "used": not unused, "off": named}, show)
    if not well:
        raise typer.Exit(FAILED)


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
