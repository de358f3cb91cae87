"""How long the long tests take: `make test-long` sets the variable, `make test` runs a fair sample."""

import os

LONG = bool(os.environ.get("PORTCULLIS_LONG"))
