"""What operators can do, and what gateways may have: the use cases, over database and secret store.

Everything here is synchronous; callers hop to a thread in one place. Every change of more than one row is one
transaction, and names that people chose are checked before anything is touched.
"""

from broker.service.desk import Change, Desk, Home, Page
from broker.service.service import Service

__all__ = ["Change", "Desk", "Home", "Page", "Service"]
