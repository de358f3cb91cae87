"""Backups: what is in one, and how it is sealed to a recovery code."""
