"""Stage 5, out: claim, sign, POST, retry."""
