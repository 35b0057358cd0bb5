"""Structured logs on stderr: one line each, for people on a terminal, as JSON elsewhere. Never a secret in them."""

import logging
import sys
from typing import Literal

import structlog

Format = Literal["json", "console", "auto"]


def configure_logging(level: str, style: Format) -> None:
    """Set how this process logs, once at its start. stdout is never written to: it belongs to what a command prints."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    libraries = max(threshold, logging.WARNING)
    logging.basicConfig(level=libraries, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
