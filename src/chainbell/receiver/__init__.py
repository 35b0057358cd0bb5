"""What a receiver of our webhooks uses."""
