"""The main job on a development chain, from a payment to verified webhooks: ``chainbell demo``."""
