"""Chainbell's tests, and what they are built from."""
