"""A claim of one history is none in another: the same row version may have been saved by somebody else there."""

from pathlib import Path

import pytest

from broker.db import rotations as store
from rotation.fence import Fence
from rotation.journal import Journal, Lost
from tests.rotation.place import now
from tests.rotation.test_superseded import placed


async def test_who_claimed_a_rotation_in_another_history_writes_nothing(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        service = here.world.service
        journal = Journal(service.desk.database, service.audit, "me")
        journal.plan(here.plan())
        claimed = journal.claim(now())
        assert claimed is not None
        fence = Fence(service.desk.database, claimed.rotation.id, claimed.row_version)
        fence.ensure()
        with service.desk.database.write() as connection:
            service.continuity.begin(connection, "the database went back")
        with pytest.raises(Lost):
            fence.ensure()
        with pytest.raises(Lost), fence.writing():
            pass
        other = Journal(service.desk.database, service.audit, "other")
        assert other.claim(now()) is None, "what was signed may still be on its way"
        with service.desk.database.read() as connection:
            row = store.get(connection, claimed.rotation.id)
        assert row is not None
        assert row.row_version > claimed.row_version + 1000
