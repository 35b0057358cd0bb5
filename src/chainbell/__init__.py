"""Chainbell: a self-hosted blockchain wallet event watcher."""

__version__ = "0.1.0"
