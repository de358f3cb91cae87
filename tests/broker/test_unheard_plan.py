"""Before each exit the broker looks for what nobody answered: among those alone, not among all that was ever sent."""

from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event

from broker.db import log_tables as t
from broker.db import unheard


def test_what_nobody_answered_is_found_by_an_index_of_its_own(tmp_path: Path) -> None:
    engine, asked = create_engine(f"sqlite:///{tmp_path}/log.db"), list[tuple[str, Any]]()
    t.LOG.create_all(engine)
    event.listen(
        engine, "before_cursor_execute", lambda _, __, text, values, *___: asked.append((text, values))
    )
    with engine.connect() as connection:
        found = unheard.unanswered_sales(connection, "main", "BTC", {"BTCUSDT", "ETHBTC>"}, {"grt"}, "now")
        assert found == 0
        text, values = asked[-1]
        plan = [row[3] for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + text, values)]
    assert "ix_sent_orders_open" in plan[0], plan
