"""Logging, the clock and named points of progress."""
