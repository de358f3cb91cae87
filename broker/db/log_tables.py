"""The tables of the log store: calls, order owners, budget slices. No secret is ever in one of them.

Rules:
1. A store of its own, so that no log makes a cut wait: with SQLite a file of its own (`calls.db`), in PostgreSQL
   the same database with connections, an advisory lock and a list of migrations (`alembic_version_log`) of its own.
2. A table or column that is written with the bots' requests comes here, with a migration in
   `log_migrations/versions`, numbered by itself; all else comes into `tables`, with one in `migrations/versions`.
3. Nothing here refers to a table of the state by foreign key, and nothing there to one here: no transaction holds
   both stores. What a use case needs of both it reads from the state first.
4. Text, money and instants are as in `tables`; a test compares these tables with their migrations.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from broker.db.tables_root import METADATA

LOG = MetaData(naming_convention=METADATA.naming_convention)

ORDERS = Table(
    "orders",
    LOG,
    Column("account", String(64), primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("grant", String(32), nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)
"""Whose order is whose, as the venue confirmed it. `name` is `#` and the venue's id of it, or `%` and a list's."""

SENT_ORDERS = Table(
    "sent_orders",
    LOG,
    Column("account", String(64), primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("gateway", String(64), primary_key=True),
    Column("boot", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("grant", String(32), nullable=False),
    Column("sent_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("side", String(8), nullable=False),
    Column("quantity", String(60), nullable=False),
    Column("price", String(60), nullable=False),
    Column("exact", Boolean, nullable=False),
    Column("known_as", String(64)),
    Column("quote", String(20)),
    Column("base", String(20)),
    Column("frees", String(64)),
)
"""What was sent under a client order id (`@` and that of an order list), by the request's own number: a name leads to
candidates and is nobody's. Times are the venue's. `known_as` is the venue's id, once it gave one. A request that was
refused leaves none. `quote` is what its pair is quoted in, where that is counted (`broker.paid`), `base` what it
trades; of orders from before that was kept nobody said it. `frees` is the id of the order without whose cancellation
none of its request is placed."""
Index("ix_sent_orders_ask", SENT_ORDERS.c.boot, SENT_ORDERS.c.seq)
Index("ix_sent_orders_known_as", SENT_ORDERS.c.known_as)
Index("ix_sent_orders_open", SENT_ORDERS.c.account, SENT_ORDERS.c.known_as)

SLICES = Table(
    "slices",
    LOG,
    Column("id", String(32), primary_key=True),
    Column("grant", String(32), nullable=False, index=True),
    Column("gateway", String(64), nullable=False),
    Column("boot", String(32), nullable=False, index=True),
    Column("amount", String(40), nullable=False),
    Column("returned", String(40), nullable=False),
    Column("lent_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger, index=True),
    Column("account", String(64), index=True),
    Column("consumer", String(64), index=True),
    Column("asset", String(20)),
)
"""Budget lent to gateways, in units of `asset`; it counts for its grant, account and consumer. Rows of before say only
whose grant's."""

CLOCKS = Table(
    "clocks",
    LOG,
    Column("name", String(16), primary_key=True),
    Column("counted_us", BigInteger, nullable=False),
    Column("base", String(64), nullable=False),
    Column("boot_us", BigInteger, nullable=False),
    Column("wall_us", BigInteger, nullable=False),
)
"""How far the clock of money had come, at which moment by both clocks of a host."""

FILLS = Table(
    "fills",
    LOG,
    Column("account", String(64), primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("order_id", String(64), primary_key=True),
    Column("grant", String(32), nullable=False),
    Column("base", String(20), nullable=False),
    Column("side", String(8), nullable=False),
    Column("executed", String(40), nullable=False),
    Column("open", String(40), nullable=False),
    Column("told_us", BigInteger, nullable=False),
    Column("listed", String(32), server_default="?"),
)
"""What each grant's orders executed, as far as answers told, and what of them may still execute; in base asset.

`listed` is of which list each is (`broker.listed`), none where it is of none; of those that were there before that was
kept nobody said it."""
Index("ix_fills_account_base", FILLS.c.account, FILLS.c.base, FILLS.c.open)
_IN_A_LIST = FILLS.c.listed.is_not(None)
Index(
    "ix_fills_listed", FILLS.c.account, FILLS.c.listed, sqlite_where=_IN_A_LIST, postgresql_where=_IN_A_LIST
)
Index("ix_fills_told", FILLS.c.told_us)

FILL_SUMS = Table(
    "fill_sums",
    LOG,
    Column("account", String(64), primary_key=True),
    Column("base", String(20), primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("grant", String(32), primary_key=True),
    Column("side", String(8), primary_key=True),
    Column("executed", Text, nullable=False),
)
"""What all orders in `fills` executed, added up: whoever asks whose an asset is reads these and the open orders."""

FILLS_BEFORE = Table(
    "fills_before",
    LOG,
    Column("account", String(64), primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("grant", String(32), primary_key=True),
    Column("base", String(20), primary_key=True),
    Column("side", String(8), primary_key=True),
    Column("executed", String(40), nullable=False),
    Column("upto", BigInteger, nullable=False),
)
"""What closed orders executed that are not kept one by one any more; `upto` is the highest id among them."""

FILLS_PAST = Table(
    "fills_past",
    LOG,
    Column("account", String(64), primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("order_id", String(64), primary_key=True),
    Column("grant", String(32), nullable=False),
    Column("base", String(20), nullable=False),
    Column("side", String(8), nullable=False),
    Column("executed", String(40), nullable=False),
    Column("told_us", BigInteger, nullable=False),
)
"""Whose each of those orders was, and what it executed: nothing that bots wait for reads it."""
Index("ix_fills_past_told", FILLS_PAST.c.told_us)

CALLS_BEFORE = Table(
    "calls_before",
    LOG,
    Column("gateway", String(64), primary_key=True),
    Column("boot", String(32), primary_key=True),
    Column("upto", BigInteger, nullable=False),
)
"""Up to which number a boot's calls are not kept any more (`old_calls`)."""

ANSWERED_EARLY = Table(
    "answered_early",
    LOG,
    Column("gateway", String(64), primary_key=True),
    Column("boot", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("symbol", String(40), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("known_as", String(64)),
    Column("told_us", BigInteger, nullable=False),
)
"""What was told of requests that are not there yet (`early`): the venue's id of an order by its name; no id: none of
the request was placed."""
Index("ix_answered_early_told", ANSWERED_EARLY.c.told_us)

LINES_TAKEN = Table(
    "lines_taken",
    LOG,
    Column("gateway", String(64), primary_key=True),
    Column("boot", String(32), primary_key=True),
    Column("upto", BigInteger, nullable=False),
)
"""Up to which line of the spool of a boot that is not over lines are taken in (`taken`)."""

CALLS = Table(
    "calls",
    LOG,
    Column("gateway", String(64), primary_key=True),
    Column("boot", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at_us", BigInteger, nullable=False, index=True),
    Column("grant", String(32), nullable=False),
    Column("consumer", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("key", String(120), nullable=False),
    Column("method", String(8), nullable=False),
    Column("endpoint", String(80), nullable=False),
    Column("action", String(16), nullable=False),
    Column("symbol", String(40)),
    Column("side", String(8)),
    Column("notional", String(60)),
    Column("client_ids", Text, nullable=False),
    Column("target", String(64)),
    Column("decision", String(8), nullable=False),
    Column("reason", String(40)),
    Column("source", String(64), nullable=False),
    Column("leaving", Boolean, nullable=False),
    Column("reserved", Text, nullable=False),
    Column("released", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", String(16)),
    Column("outcome", String(8)),
    Column("latency_us", BigInteger),
)
"""The call log: one row per ask; what came back is filled in later. No outcome: not known."""
Index("ix_calls_consumer_at", CALLS.c.consumer, CALLS.c.at_us)
Index("ix_calls_grant_at", CALLS.c.grant, CALLS.c.at_us)
