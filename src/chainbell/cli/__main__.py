"""``python -m chainbell.cli`` is ``chainbell``."""

from chainbell.cli.main import main

main()
