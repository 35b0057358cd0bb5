"""The composition root: the only room that builds concrete classes and joins stages."""
