"""Stage 4, render and fan out: what is told, in which words, and to whom."""
