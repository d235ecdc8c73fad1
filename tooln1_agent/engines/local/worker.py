"""The thread that owns the model: it drives the scheduler, and changes adapters between ticks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from random import SystemRandom
from typing import Any, NamedTuple

import torch

from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.requests import Limits, Request, fail
from tooln1_agent.engines.local.scheduler import Scheduler
from tooln1_agent.errors import EngineDown


class _Errand(NamedTuple):
    """A change of adapters; a removal waits until no request uses the adapter."""

    do: Callable[[AdaptedModel], None]
    done: Future[None]
    adapter: str
    is_removal: bool


class Worker:
    """Serves requests in a thread of its own. The public methods may be called from any."""

    def __init__(
        self,
        load: Callable[[], AdaptedModel],
        *,
        end_ids: Collection[int],
        limits: Limits,
        threads: int | None,
    ) -> None:
        """Start the thread, which first loads the model; `ready` tells when it has."""
        self.ready: Future[None] = Future()
        self._load, self._end_ids, self._limits, self._threads = load, end_ids, limits, threads
        self._changed = threading.Condition()
        self._errands: list[_Errand] = []
        self._down: str | None = None
        self._model: AdaptedModel | None = None
        self._scheduler: Scheduler | None = None
        self._thread = threading.Thread(target=self._run, name="local-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Put a request in line; the worker must be ready.

        Raises:
            EngineBusy: too many wait already.
            EngineDown: the worker has stopped; says why.
        """
        with self._changed:
            self._check_up()
            assert self._scheduler is not None
            self._scheduler.submit(request)
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """Give up a request, wherever it is; for one that has ended nothing happens."""
        assert self._scheduler is not None
        self._scheduler.cancel(request)
        with self._changed:
            self._changed.notify()

    def prepare_adapter(self, version: str, path: Path) -> Any:
        """Do the slow part of `load_adapter` in the caller's thread; the worker must be ready.

        Raises:
            AdapterError: it does not fit this base.
        """
        assert self._model is not None
        return self._model.prepare(version, path)

    def load_adapter(self, version: str, path: Path, *, prepared: Any) -> Future[None]:
        """Make an adapter available between two tokens. The future may hold an `AdapterError`."""
        return self._errand(version, lambda model: model.load(version, path, prepared=prepared))

    def unload_adapter(self, version: str) -> Future[None]:
        """Forget an adapter once the last request that uses it has ended."""

        def unload(model: AdaptedModel) -> None:
            assert self._scheduler is not None
            model.unload(version)
            self._scheduler.forget(version)

        return self._errand(version, unload, is_removal=True)

    def close(self) -> None:
        """Stop; whoever still waits gets `EngineDown`. Returns when the thread has ended."""
        self._stop("the engine was closed")
        self._thread.join()

    def _errand(
        self, adapter: str, do: Callable[[AdaptedModel], None], *, is_removal: bool = False
    ) -> Future[None]:
        done: Future[None] = Future()
        with self._changed:
            self._check_up()
            self._errands.append(_Errand(do, done, adapter, is_removal))
            self._changed.notify()
        return done

    def _check_up(self) -> None:
        if self._down is not None:
            raise EngineDown(self._down)

    def _run(self) -> None:
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            self._model = self._load()
        except Exception as error:  # a supervised thread: who waits for it must hear of it
            self._stop(f"the model could not be loaded: {error}")
            self.ready.set_exception(error)
            return
        seed = SystemRandom().getrandbits(63)
        scheduler = Scheduler(self._model, end_ids=self._end_ids, limits=self._limits, seed=seed)
        self._scheduler = scheduler
        self.ready.set_result(None)
        try:
            while self._wait(scheduler):
                self._run_errands(scheduler, self._model)
                scheduler.tick()
        except Exception as error:  # a supervised thread, as above
            self._stop(
                f"the local engine stopped after an error: {type(error).__name__}: {error}; "
                "restart it"
            )
        for request in scheduler.abandon():
            fail(request, EngineDown(self._down or ""))

    def _wait(self, scheduler: Scheduler) -> bool:
        """Wait for something to do; False when there will be nothing more."""
        with self._changed:
            while self._down is None and not (scheduler.has_work or self._ready(scheduler)):
                self._changed.wait()
            return self._down is None

    def _ready(self, scheduler: Scheduler) -> list[_Errand]:
        """Return the errands that can be run, of each adapter the oldest at most."""
        oldest: dict[str, _Errand] = {}
        for errand in self._errands:
            oldest.setdefault(errand.adapter, errand)
        return [e for e in oldest.values() if not (e.is_removal and scheduler.uses(e.adapter))]

    def _run_errands(self, scheduler: Scheduler, model: AdaptedModel) -> None:
        with self._changed:
            ready = self._ready(scheduler)
            self._errands = [errand for errand in self._errands if errand not in ready]
        for errand in ready:
            try:
                errand.do(model)
            except Exception as error:  # belongs to who asked for it
                errand.done.set_exception(error)
            else:
                errand.done.set_result(None)

    def _stop(self, why: str) -> None:
        """Refuse everything from now on, and tell who waits for an errand."""
        with self._changed:
            if self._down is not None:
                return
            self._down = why
            errands, self._errands = self._errands, []
            self._changed.notify()
        for errand in errands:
            errand.done.set_exception(EngineDown(why))
