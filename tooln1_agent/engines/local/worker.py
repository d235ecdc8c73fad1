"""The thread that owns the model: waiting requests become batches, oldest first.

A batch shares an adapter. Requests for another one wait until it has ended; the oldest request
always leads the next batch, so none starves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.generate import Row, Sample, sample_rows
from tooln1_agent.engines.text_stream import TextStream
from tooln1_agent.errors import EngineBusy, EngineDown
from tooln1_agent.messages import Sampling

PAD_ID = 0
"""Padding is masked, so any id will do."""


class Ended(NamedTuple):
    """The end of a job: its whole text and the sample it came from."""

    text: str
    sample: Sample


@dataclass(slots=True, eq=False)
class Job:
    """One completion that somebody waits for."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    adapter: str | None
    text: TextStream
    deliver: Callable[[str | Ended | EngineDown], None]
    """Called from the worker's thread; must not block."""
    cancelled: bool = False

    def push(self, token: int) -> None:
        if piece := self.text.push(token):
            self.deliver(piece)

    def end(self, sample: Sample) -> None:
        rest, text = self.text.end()
        if rest:
            self.deliver(rest)
        self.deliver(Ended(text, sample))


class _Errand(NamedTuple):
    """Something to be done to the model between batches, once no job waits for `adapter`."""

    do: Callable[[AdaptedModel], None]
    done: Future[None]
    adapter: str | None


class Worker:
    """Runs jobs on a model in a thread of its own. The public methods may be called from any."""

    def __init__(
        self,
        load: Callable[[], AdaptedModel],
        *,
        end_id: int,
        max_batch: int,
        queue_limit: int,
        threads: int | None,
    ) -> None:
        """Start the thread, which first loads the model; `ready` tells when it has."""
        self.ready: Future[None] = Future()
        self._load, self._end_id, self._threads = load, end_id, threads
        self._max_batch, self._queue_limit = max_batch, queue_limit
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._errands: list[_Errand] = []
        self._down: str | None = None
        self._thread = threading.Thread(target=self._run, name="local-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            EngineBusy: too many wait already.
            EngineDown: the worker has stopped; says why.
        """
        with self._changed:
            if self._down is not None:
                raise EngineDown(self._down)
            if len(self._waiting) >= self._queue_limit:
                raise EngineBusy(f"{len(self._waiting)} requests are waiting, which is the limit")
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Give up a job, wherever it is; for one that has ended nothing happens."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._changed.notify()

    def errand(
        self, do: Callable[[AdaptedModel], None], *, after_jobs_of: str | None = None
    ) -> Future[None]:
        """Have something done to the model before the next batch, or after some jobs."""
        done: Future[None] = Future()
        with self._changed:
            if self._down is not None:
                raise EngineDown(self._down)
            self._errands.append(_Errand(do, done, after_jobs_of))
            self._changed.notify()
        return done

    def close(self) -> None:
        """Stop; whoever still waits gets `EngineDown`. Returns when the thread has ended."""
        self._stop("the engine was closed")
        self._thread.join()

    def _run(self) -> None:
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            model = self._load()
        except Exception as error:  # a supervised thread: who waits for it must hear of it
            self._stop(f"the model could not be loaded: {error}")
            self.ready.set_exception(error)
            return
        self.ready.set_result(None)
        self._generator = torch.Generator()
        self._generator.seed()
        try:
            while work := self._next():
                work(model)
        except Exception as error:  # a supervised thread, as above
            self._stop(
                f"the local engine stopped after an error: {type(error).__name__}: {error}; "
                "restart it"
            )

    def _next(self) -> Callable[[AdaptedModel], None] | None:
        """Wait for something to do; None when there will be nothing more."""
        with self._changed:
            while self._down is None:
                waited_for = {job.adapter for job in self._waiting}
                # In order: an adapter that is loaded again must first have been unloaded.
                if self._errands and self._errands[0].adapter not in waited_for - {None}:
                    return partial(_do, self._errands.pop(0))
                if self._waiting:
                    oldest = self._waiting[0]
                    alike = [job for job in self._waiting if job.adapter == oldest.adapter]
                    self._running = alike[: self._max_batch]
                    self._waiting = [job for job in self._waiting if job not in self._running]
                    return self._run_batch
                self._changed.wait()
        return None

    def _run_batch(self, model: AdaptedModel) -> None:
        jobs = self._running

        def stop(row: int) -> bool:
            return jobs[row].cancelled or jobs[row].text.stopped or self._down is not None

        def end(row: int, sample: Sample) -> None:
            if self._down is None:
                jobs[row].end(sample)

        with model.using(jobs[0].adapter) as adapted:
            sample_rows(
                adapted,
                [Row(job.prompt_ids, job.sampling) for job in jobs],
                end_id=self._end_id,
                pad_id=PAD_ID,
                generator=self._generator,
                on_token=lambda row, token: jobs[row].push(token),
                stop=stop,
                on_end=end,
            )
        self._running = []

    def _stop(self, why: str) -> None:
        """Refuse everything from now on, and tell all who wait."""
        with self._changed:
            if self._down is not None:
                return
            self._down = why
            jobs, errands = [*self._running, *self._waiting], self._errands
            self._waiting, self._errands = [], []
            self._changed.notify()
        for job in jobs:
            job.deliver(EngineDown(why))
        for errand in errands:
            errand.done.set_exception(EngineDown(why))


def _do(errand: _Errand, model: AdaptedModel) -> None:
    try:
        errand.do(model)
    except Exception as error:  # belongs to who asked for it
        errand.done.set_exception(error)
    else:
        errand.done.set_result(None)
