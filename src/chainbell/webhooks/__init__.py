"""For receivers of our webhooks: ``from chainbell.webhooks import verify``."""

from chainbell.receiver.verify import WebhookVerificationError, verify

__all__ = ["WebhookVerificationError", "verify"]
