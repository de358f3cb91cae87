"""The lease authority: what gateways speak to."""

from broker.authority.authority import LeaseAuthority

__all__ = ["LeaseAuthority"]
