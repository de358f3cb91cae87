"""Figures: what the gateway costs beside direct calls and other relays, and what a cut costs."""
