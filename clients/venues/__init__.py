"""One package per venue: sign, intent, codes, market, account."""
