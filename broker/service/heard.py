"""What people took from grants while this process ran: what a database that went back may have given again.

Rules:
1. Revoked, reissued and narrowed is kept in mind as it was told, after its commit; what widened is not missed.
2. Where another history has not heard of it, that grant is closed there, with what to do again as the reason: nobody
   trades by a virtual key that was taken away, or by a policy that was narrowed, until a person looked.
"""

from dataclasses import replace

from broker import policy_document
from broker.db import Connection
from broker.db import grants as store
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import Grant, ScopeKind, new_id, scope
from broker.service import again
from broker.service.audit import ITSELF
from broker.service.desk import Change, Desk
from broker.service.grants import only_widens


class Heard:
    """Grants as they were told to be, by their ids."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._grants: dict[str, Grant] = {}
        desk.listeners.append(self._hear)

    def _hear(self, change: Change) -> None:
        """Hear of a committed change, in whatever thread made it."""
        told = change.known
        if told is None:
            return
        before = self._grants.get(told.id)
        if before is not None and before.policy_version > told.policy_version:
            told = replace(told, policy=before.policy, policy_version=before.policy_version)
        if before is not None and before.revoked_at is not None:
            told = replace(told, revoked_at=before.revoked_at)
        self._grants[told.id] = told

    def forget(self) -> None:
        """All of it is on record in a history that was begun closed."""
        self._grants.clear()

    def given_again(self, connection: Connection) -> list[NotedCut]:
        """Return cuts of the grants that the record has as they were before something was taken from them."""
        found = []
        for told in list(self._grants.values()):
            there = store.grant(connection, told.id)
            forgot = None if there is None else _given_again(there, told)
            if forgot is not None:
                found.append(
                    NotedCut(
                        new_id("cut"), Mode.CLOSED, (scope(ScopeKind.GRANT, told.id),), again.reason(*forgot), ITSELF,
                        self._desk.clock.now_us(),
                    )
                )  # fmt: skip
        return found


def _given_again(there: Grant, told: Grant) -> tuple[str, str] | None:
    """Say what was taken and is there again, and what takes it again; None where nothing is."""
    if there.revoked_at is not None:
        return None
    if told.revoked_at is not None:
        return "this grant was revoked", f"portcullis grant revoke {told.id} --reason WHY"
    if there.key_id != told.key_id:
        what = f"its virtual key was reissued ({told.key_id} took the place of {there.key_id})"
        return what, f"portcullis grant reissue {told.id}"
    if there.policy != told.policy and not only_widens(
        policy_document.load(there.policy), policy_document.load(told.policy)
    ):
        what = f"its policy was narrowed (version {told.policy_version})"
        return what, f"portcullis grant policy {told.id} --policy FILE"
    return None
