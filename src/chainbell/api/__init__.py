"""A way in: the HTTP API under ``/v2``."""
