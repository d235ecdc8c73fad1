"""Who is served when: requests that wait, the prompt that is computed, the rows that sample.

One `tick` follows another, in whatever thread: each lane's rows get a token, then the oldest
requests get some pieces of their prompts computed. A lane is the rows of one adapter; while an
adapter replaces another there are two, stepped in turn, and requests of a third wait. The order is
that of arrival: nobody overtakes the oldest, so nobody starves.

What is kept in memory is counted in tokens: prompts, in use or remembered, and for every request
the most that it may sample. A request that has no room waits, after what is remembered has gone.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random

import torch

from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.decoder import Decoder, Row
from tooln1_agent.engines.local.prefill import Prefill
from tooln1_agent.engines.local.requests import Limits, Request, fail
from tooln1_agent.engines.local.segments import Prefixes
from tooln1_agent.errors import EngineBusy, EngineError

_LANES = 2
"""Adapters whose rows sample at a time; each has a forward of its own."""


@dataclass(slots=True)
class _Lane:
    """The rows of one adapter, each with its request."""

    decoder: Decoder
    requests: dict[Row, Request]


@dataclass(frozen=True, slots=True)
class _Started:
    """The request whose prompt is being computed."""

    request: Request
    row: Row
    prefill: Prefill


class Scheduler:
    """Serves requests on a model. `submit` and `cancel` may be called from any thread."""

    def __init__(
        self, model: AdaptedModel, *, end_ids: Collection[int], limits: Limits, seed: int
    ) -> None:
        """Begin with nothing to do.

        Args:
            seed: of the seeds of requests that bring none.
        """
        self._model, self._end_ids, self._limits = model, end_ids, limits
        self._random = Random(seed)
        self._prefixes = Prefixes()
        self._lanes: dict[str | None, _Lane] = {}
        self._started: _Started | None = None
        self._waiting: list[Request] = []
        self._lock = threading.Lock()  # of the waiting line alone

    def submit(self, request: Request) -> None:
        """Put a request in line.

        Raises:
            EngineBusy: too many wait already.
        """
        with self._lock:
            if len(self._waiting) >= self._limits.queue_limit:
                raise EngineBusy(f"{len(self._waiting)} requests are waiting, which is the limit")
            self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Give up a request: one that waits at once, any other before the next token."""
        request.is_cancelled = True
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)

    @property
    def has_work(self) -> bool:
        """Whether a `tick` would do something."""
        return bool(self._waiting or self._started or self._lanes)

    @property
    def tokens(self) -> int:
        """How much of the token budget is taken."""
        taken = sum(request.sampling.max_tokens for _, _, request in self._sampling())
        taken += sum(lane.decoder.prompt_tokens for lane in self._lanes.values())
        taken += self._started.request.tokens if self._started else 0
        return taken + self._prefixes.tokens

    def uses(self, adapter: str | None) -> bool:
        """Tell whether a request of this adapter waits or runs."""
        with self._lock:
            waits = any(request.adapter == adapter for request in self._waiting)
        return waits or adapter in self._lanes

    def forget(self, adapter: str | None) -> None:
        """Drop what is remembered of prompts under an adapter that no request uses."""
        self._prefixes.forget(adapter)

    def abandon(self) -> list[Request]:
        """Drop everything; return the requests that had not ended."""
        with self._lock:
            left, self._waiting = self._waiting, []
        left = [request for _, _, request in self._sampling()] + left
        if self._started is not None:
            left.append(self._started.request)
        self._lanes, self._started, self._prefixes = {}, None, Prefixes()
        return left

    @torch.inference_mode()
    def tick(self) -> None:
        """Give each row that samples one token, and compute some pieces of prompts."""
        self._drop_cancelled()
        for adapter, lane in list(self._lanes.items()):
            if lane.requests:
                self._step(adapter, lane)
        left = self._limits.prefill_tokens
        while left > 0 and (started := self._started or self._admit()):
            if left < min(started.prefill.left, self._limits.prefill_tokens):
                break  # a whole piece next time costs less than two small ones
            left -= self._advance(started, left)
        self._close_lanes()

    def _drop_cancelled(self) -> None:
        if self._started is not None and self._started.request.is_cancelled:
            self._started = None
        for lane, row, request in list(self._sampling()):
            if request.is_cancelled:
                self._remove(lane, row)
        self._close_lanes()

    def _step(self, adapter: str | None, lane: _Lane) -> None:
        try:
            with self._model.using(adapter) as model:
                lane.decoder.step(model)
        except Exception as error:  # a supervised loop: it fails who took part, and goes on
            del self._lanes[adapter]
            self._prefixes.forget(adapter)  # their rows used it
            if self._started is not None and self._started.request.adapter == adapter:
                self._lane(adapter)  # the prompt at hand is not concerned
            for request in lane.requests.values():
                fail(request, error)
            return
        for row in list(lane.requests):
            self._hand_over(lane, row)

    def _admit(self) -> _Started | None:
        """Start the oldest request, if there is one and there is room for it."""
        with self._lock:
            request = self._waiting[0] if self._waiting else None
            if request is None or not self._has_room(request):
                return None
            self._waiting.pop(0)
        seed = request.sampling.seed
        row = Row(request.sampling, Random(self._random.getrandbits(63) if seed is None else seed))
        prefill = self._lane(request.adapter).decoder.begin(request.prompt_ids)
        self._started = _Started(request, row, prefill)
        return self._started

    def _has_room(self, request: Request) -> bool:
        """Tell whether a request can start, having dropped what is only remembered if need be."""
        if sum(1 for _ in self._sampling()) >= self._limits.max_batch:
            return False
        if request.adapter not in self._lanes and len(self._lanes) >= _LANES:
            return False
        while self.tokens + request.tokens > self._limits.token_budget:
            if not self._prefixes.evict():
                return False
        return True

    def _advance(self, started: _Started, at_most: int) -> int:
        """Compute a piece of a prompt; return its tokens. After the last, the row samples."""
        request, row, prefill = started.request, started.row, started.prefill
        lane = self._lanes[request.adapter]
        try:
            with self._model.using(request.adapter) as model:
                count = prefill.advance(model, at_most)
            if prefill.logits is None:
                return count
            self._started = None
            lane.decoder.join(prefill, [row])
        except Exception as error:  # a supervised loop, as above
            self._started = None
            fail(request, error)
            return at_most
        lane.requests[row] = request
        self._hand_over(lane, row)
        return count

    def _hand_over(self, lane: _Lane, row: Row) -> None:
        """Tell a row's newest token, and remove the row if that was the last."""
        request = lane.requests[row]
        try:
            if not math.isfinite(row.logprobs[-1]):
                raise EngineError("the model's probabilities are no numbers after this prompt")
            is_stopped = request.listener.on_token(row.ids[-1])
            if not (is_stopped or row.has_ended(self._end_ids)):
                return
            is_stopped = is_stopped or row.ids[-1] in self._end_ids
            request.listener.on_end(row.sample("stop" if is_stopped else "length"))
        except Exception as error:  # this request's own, and nobody else's
            fail(request, error)
        self._remove(lane, row)

    def _remove(self, lane: _Lane, row: Row) -> None:
        del lane.requests[row]
        lane.decoder.leave(row)

    def _lane(self, adapter: str | None) -> _Lane:
        if adapter not in self._lanes:
            decoder = Decoder(self._model.config, prefixes=self._prefixes, adapter=adapter)
            self._lanes[adapter] = _Lane(decoder, {})
        return self._lanes[adapter]

    def _close_lanes(self) -> None:
        """Make room for other adapters where nobody samples any more."""
        in_use = self._started.request.adapter if self._started else ...
        for adapter, lane in list(self._lanes.items()):
            if not lane.requests and adapter != in_use:
                del self._lanes[adapter]

    def _sampling(self) -> Iterator[tuple[_Lane, Row, Request]]:
        for lane in self._lanes.values():
            for row, request in lane.requests.items():
                yield lane, row, request
