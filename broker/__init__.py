"""Decide, sign, forward: gates, leases, policy, stores, gateway, link, API."""
