"""Nodes of EVM chains."""
