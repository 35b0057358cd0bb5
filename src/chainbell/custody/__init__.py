"""Custody: whose addresses are watched, and how many of them are registered at once."""
