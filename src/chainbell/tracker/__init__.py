"""Stage 3, decide: pure lifecycle transitions, and the one service that commits them."""
