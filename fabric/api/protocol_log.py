"""What aiohttp's protocol layer logs, made fit for a port that strangers reach.

Bytes that are no HTTP are the sender's mistake: one INFO line, without the bytes (a token may be among them)
and without a traceback. Everything else aiohttp reports stays as it is.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError


class _WithoutTheirBytes(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
            record.peer = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
            record.msg, record.args = "request not understood", ()
            record.exc_info, record.exc_text = None, None
            record.reason = type(error).__name__
        return True


def protocol_logger() -> logging.Logger:
    logger = logging.getLogger("fabric.api.protocol")
    if not any(isinstance(each, _WithoutTheirBytes) for each in logger.filters):
        logger.addFilter(_WithoutTheirBytes())
    return logger
