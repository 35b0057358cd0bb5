"""Resources as the API shows them, and the CLI with ``--json``. Nothing here knows HTTP."""
