"""What talks to the chains' nodes: bytes and JSON in, domain types out."""
