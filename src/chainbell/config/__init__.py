"""What an operator decides: settings from the environment, and the chains from ``chains/*.toml``."""
