"""Nodes of chains of the Bitcoin family."""
