"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "calls",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("consumer", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("endpoint", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=True),
        sa.Column("side", sa.String(length=8), nullable=True),
        sa.Column("notional", sa.String(length=60), nullable=True),
        sa.Column("client_ids", sa.Text(), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=True),
        sa.Column("decision", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("leaving", sa.Boolean(), nullable=False),
        sa.Column("reserved", sa.Text(), nullable=False),
        sa.Column("released", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "boot", "seq", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_at_us"), "calls", ["at_us"], unique=False)
    op.create_index("ix_calls_consumer_at", "calls", ["consumer", "at_us"], unique=False)
    op.create_index("ix_calls_grant_at", "calls", ["grant", "at_us"], unique=False)
    op.create_table(
        "consumers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_consumers")),
    )
    op.create_table(
        "cuts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("thawed_us", sa.BigInteger(), nullable=True),
        sa.Column("thawed_by", sa.String(length=64), nullable=True),
        sa.Column("thawed_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cuts")),
    )
    op.create_table(
        "egress",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=True),
        sa.Column("proxy_host", sa.String(length=255), nullable=True),
        sa.Column("proxy_port", sa.Integer(), nullable=True),
        sa.Column("proxy_user", sa.String(length=255), nullable=True),
        sa.Column("password_path", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_egress")),
    )
    op.create_table(
        "gates",
        sa.Column("scope", sa.String(length=160), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_gates")),
    )
    op.create_table(
        "gateways",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gateways")),
    )
    op.create_table(
        "idempotency",
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operator", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "operators",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_operators")),
        sa.UniqueConstraint("prefix", name=op.f("uq_operators_prefix")),
    )
    op.create_table(
        "orders",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "symbol", "name", name=op.f("pk_orders")),
    )
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("venue", sa.String(length=32), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("egress", sa.String(length=64), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("venue_uid", sa.String(length=64), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["egress"], ["egress.name"], name=op.f("fk_accounts_egress")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_accounts")),
    )
    op.create_table(
        "closers",
        sa.Column("scope", sa.String(length=160), nullable=False),
        sa.Column("cut", sa.String(length=32), nullable=False),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(["cut"], ["cuts.id"], name=op.f("fk_closers_cut")),
        sa.ForeignKeyConstraint(["scope"], ["gates.scope"], name=op.f("fk_closers_scope")),
        sa.PrimaryKeyConstraint("scope", "cut", name=op.f("pk_closers")),
    )
    op.create_table(
        "cut_scopes",
        sa.Column("cut", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.String(length=160), nullable=False),
        sa.ForeignKeyConstraint(["cut"], ["cuts.id"], name=op.f("fk_cut_scopes_cut")),
        sa.PrimaryKeyConstraint("cut", "scope", name=op.f("pk_cut_scopes")),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("consumer", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=128), nullable=False),
        sa.Column("key_type", sa.String(length=16), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("secret_path", sa.Text(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_why", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_grants_account")),
        sa.ForeignKeyConstraint(["consumer"], ["consumers.name"], name=op.f("fk_grants_consumer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("key_id", name=op.f("uq_grants_key_id")),
    )
    op.create_index(op.f("ix_grants_account"), "grants", ["account"], unique=False)
    op.create_index(op.f("ix_grants_consumer"), "grants", ["consumer"], unique=False)
    op.create_table(
        "key_versions",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("venue_key_id", sa.String(length=128), nullable=False),
        sa.Column("key_type", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("ip_restricted", sa.Boolean(), nullable=True),
        sa.Column("can_withdraw", sa.Boolean(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_key_versions_account")),
        sa.PrimaryKeyConstraint("account", "slot", "version", name=op.f("pk_key_versions")),
    )
    op.create_table(
        "old_keys",
        sa.Column("key_id", sa.String(length=128), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["grant"], ["grants.id"], name=op.f("fk_old_keys_grant")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_old_keys")),
    )
    op.create_table(
        "policies",
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["grant"], ["grants.id"], name=op.f("fk_policies_grant")),
        sa.PrimaryKeyConstraint("grant", "version", name=op.f("pk_policies")),
    )
    op.create_table(
        "slices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("amount", sa.String(length=40), nullable=False),
        sa.Column("returned", sa.String(length=40), nullable=False),
        sa.Column("lent_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["grant"], ["grants.id"], name=op.f("fk_slices_grant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slices")),
    )
    op.create_index(op.f("ix_slices_boot"), "slices", ["boot"], unique=False)
    op.create_index(op.f("ix_slices_closed_us"), "slices", ["closed_us"], unique=False)
    op.create_index(op.f("ix_slices_grant"), "slices", ["grant"], unique=False)


def downgrade() -> None:
    """Drop every table."""
    op.drop_index(op.f("ix_slices_grant"), table_name="slices")
    op.drop_index(op.f("ix_slices_closed_us"), table_name="slices")
    op.drop_index(op.f("ix_slices_boot"), table_name="slices")
    op.drop_table("slices")
    op.drop_table("policies")
    op.drop_table("old_keys")
    op.drop_table("key_versions")
    op.drop_index(op.f("ix_grants_consumer"), table_name="grants")
    op.drop_index(op.f("ix_grants_account"), table_name="grants")
    op.drop_table("grants")
    op.drop_table("cut_scopes")
    op.drop_table("closers")
    op.drop_table("accounts")
    op.drop_table("orders")
    op.drop_table("operators")
    op.drop_table("meta")
    op.drop_table("idempotency")
    op.drop_table("gateways")
    op.drop_table("gates")
    op.drop_table("egress")
    op.drop_table("cuts")
    op.drop_table("consumers")
    op.drop_index("ix_calls_grant_at", table_name="calls")
    op.drop_index("ix_calls_consumer_at", table_name="calls")
    op.drop_index(op.f("ix_calls_at_us"), table_name="calls")
    op.drop_table("calls")
