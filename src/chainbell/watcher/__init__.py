"""Stage 2, follow: advance, reorg or wait, block by linked block."""
