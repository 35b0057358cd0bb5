"""What ``chainbell demo`` does."""

import asyncio

from chainbell.demo.main import demo


def show(*, once: bool) -> int:
    """Show the main job, and return the exit code."""
    return asyncio.run(demo(once=once))
