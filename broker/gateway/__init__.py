"""The data plane: verify, judge, re-sign, forward. Imports stay lean."""
