"""What each configured node can do, and what Chainbell loses without the rest."""
