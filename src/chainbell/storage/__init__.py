"""PostgreSQL: all SQL and asyncpg live here and nowhere else."""
