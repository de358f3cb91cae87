"""Keys of Binance main accounts, which only a person can make and delete: what is ticked, and where.

Sources: fact sheet sections 4.1 (the flags a key shows of itself), 5A (names of the permissions), 6 and 11 (what no
endpoint does), read 2026-11-22. The page is named, not linked: no address of it is among the confirmed facts.
"""

from clients.keys import BY_HAND, Capabilities, Pages

PAGES = Pages(
    where="the exchange's API Management page (asks for your second factor)",
    own_key="self-generated (Ed25519): you upload the public key, no secret is shown",
    their_key="system-generated (HMAC): a secret is shown once",
    reading="Enable Reading",
    permissions={
        "trade": "Enable Spot & Margin Trading",
        "margin": "margin borrow/repay (enableMargin)",
        "futures": "Enable Futures (enableFutures)",
        "transfer": "Permits Universal Transfer (permitsUniversalTransfer)",
        "options": "Enable Vanilla Options (enableVanillaOptions)",
    },
    withdrawal="Enable Withdrawals",
    addresses="Restrict access to trusted IPs only",
)

CAPABILITIES: Capabilities = BY_HAND
