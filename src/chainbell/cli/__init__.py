"""A way in: the command ``chainbell``."""
