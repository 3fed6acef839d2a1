"""One request, sent until it is answered: limits, pauses, deadlines. A flow for every provider."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING

from pgrecall.embed.bisect import Suspect
from pgrecall.embed.gather import check_reader
from pgrecall.embed.retry import TransientError, time_left
from pgrecall.embed.service import Reply, Request, Send, Service
from pgrecall.embed.throttle import Throttle, Wait
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow

if TYPE_CHECKING:
    from pgrecall.embed.options import RemoteOptions

logger = logging.getLogger(__name__)

#: Attempts where a request is sent only to find out which text it fails for.
HASTY = 2


class Sender:
    """Sends requests to one service, within the limits that all its users share."""

    def __init__(self, service: Service, throttle: Throttle, options: RemoteOptions) -> None:
        self.service = service
        self.throttle = throttle
        self._options = options

    def sent(
        self, texts: Sequence[str], tokens: int, *, query: bool = False, hasty: bool = False
    ) -> Flow[Reply]:
        """The reply to a request of so many tokens.

        Raises EmbeddingError, and of these Suspect if the server itself failed time and again, Abandoned.
        """
        options = self._options
        until = time.monotonic() + options.query_deadline if query else float("inf")
        for attempt in count(1):
            check_reader()
            ticket = yield from self.throttle.admit(tokens, urgent=query, until=until)
            began = time.monotonic()
            until = min(until, began + options.deadline)
            timeout = time_left(until, options.timeout)
            try:
                reply: Reply = yield Send(
                    self.service, Request(texts=texts, query=query, timeout=timeout)
                )
            except TransientError as error:
                self.throttle.overloaded(ticket, error.retry_after)
                pause = options.backoff.pause(attempt, error)
                attempts = options.backoff.attempts
                if hasty and error.answered_by_server:
                    attempts = min(HASTY, attempts)
                if attempt >= attempts or time.monotonic() + pause > until:
                    raise _ended(error, attempt, attempts, pause) from error
                logger.warning("%s; trying again in %.1f s", error, pause)
                yield Wait(Future(), pause)
            except BaseException:
                self.throttle.leave(ticket)
                raise
            else:
                seconds = time.monotonic() - began
                self.throttle.leave(ticket, seconds=seconds, headers=reply.headers)
                return reply
        raise AssertionError  # count() does not end


def _ended(error: TransientError, attempt: int, attempts: int, pause: float) -> EmbeddingError:
    late = f", as attempt {attempt + 1} would begin in {pause:.0f} s, past the deadline"
    why = f" after {attempt} attempts" if attempt >= attempts else late
    kind = Suspect if error.answered_by_server else EmbeddingError
    return kind(f"{error}; gave up{why}.")
