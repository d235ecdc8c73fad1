"""The whole loop with real processes: serve, log, label, retrain, gate, swap, report.

python -m examples.demo            # seven to eight minutes on two CPU cores
python -m examples.demo --fast     # every step in small; learns next to nothing
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from examples.demo_config import DemoConfig, fast
from examples.demo_people import Mood, People, Served
from examples.demo_processes import DemoError, run_command, serving
from examples.demo_results import Results, show_results, write_results
from examples.demo_scores import Verdict, tally
from examples.demo_show import Show
from examples.demo_traffic import draw_moods, evaluate, send_all, trickle
from examples.home_office.tools import TOOLS
from examples.home_office.users import INSTRUCTIONS, Request, held_out, traffic
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.gate_report import GateReport
from tooln1_agent.replay.store import ReplayStore

AGENT = "examples.home_office.app:agent"
NOTHING_LEARNED = 3
"""Exit status of `retrain` where no group had spread; it says so in words."""
AFTER_SWAP_S = 3.0
"""How long traffic goes on after the swap, in seconds."""


class Demo:
    """One run of the demo."""

    def __init__(self, config: DemoConfig, console: Console) -> None:
        self.config = config
        self.show = Show(console)
        self.adapters = AdapterStore(config.adapters)
        asked = traffic(config.seed, config.requests + config.trickle_requests)
        self.live_requests = asked[: config.requests]
        self.trickle_requests = asked[config.requests :]
        self.questions = held_out(config.seed, config.eval_requests)

    async def run(self) -> Results:
        """Go through all the steps.

        Raises:
            DemoError: one of them did not do what it must.
        """
        config = self.config
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with AsyncExitStack() as stack:
            self.show.step("Serve", "tooln1-agent serve, a process of its own")
            log = config.out / "server.log"
            server = await stack.enter_async_context(serving(AGENT, config.serve_flags, log=log))
            self.show.line(f"ready at {server.url}; its log is {server.log}")
            people = People(server.url, tools=TOOLS, instructions=INSTRUCTIONS)
            stack.push_async_callback(people.aclose)
            store = stack.enter_context(ReplayStore(config.store, create=False))
            results = Results(config, started_s=time.time())
            await self._traffic(people, results)
            results.before = await self._evaluate(people, store, "before")
            await self._learn(people, results)
            if results.promoted:
                results.after = await self._evaluate(people, store, "after")
            results.stats = store.stats()
        results.check()
        return results

    async def _traffic(self, people: People, results: Results) -> None:
        moods = draw_moods(self.config)
        self.show.step("Traffic", "the openai client over HTTP, in agent mode and client mode")
        results.begin("traffic", now_s=time.time())
        with self.show.bar("requests", len(moods)) as bar:

            async def one(asked: tuple[Request, Mood]) -> Served:
                served = await people.ask(*asked)
                results.feedback[await people.tell(served) or "silence"] += 1
                bar.advance(bar.task_ids[0])
                return served

            asked = list(zip(self.live_requests, moods, strict=True))
            results.served = await send_all(asked, one, concurrency=self.config.concurrency)
        said = ", ".join(f"{count} {what}" for what, count in results.feedback.most_common())
        self.show.line(f"feedback over HTTP: {said}")

    async def _evaluate(self, people: People, store: ReplayStore, when: str) -> list[Verdict]:
        self.show.step(f"Measure {when} training", "fresh requests that nobody labels")
        with self.show.bar("requests", len(self.questions)) as bar:
            verdicts = await evaluate(
                people,
                store,
                self.questions,
                concurrency=self.config.concurrency,
                on_done=lambda: bar.advance(bar.task_ids[0]),
            )
        self.show.line(f"right: {tally(verdicts, 'all')}")
        return verdicts

    async def _learn(self, people: People, results: Results) -> None:
        """Train, judge and swap while requests go on."""
        async with trickle(
            people,
            self.trickle_requests,
            per_s=self.config.trickle_per_s,
            at_once=self.config.concurrency,
        ) as results.trickle:
            await self._retrain(results)
            if results.candidate is not None:
                self._look_at_verdict(results, results.candidate)
            if results.promoted is not None:
                await self._await_swap(results, results.promoted)
        failed = sum(bool(one.error) for one in results.trickle)
        self.show.line(f"{len(results.trickle)} requests in the meantime, {failed} failed")

    async def _retrain(self, results: Results) -> None:
        self.show.step("Retrain", "tooln1-agent retrain, a process of its own; traffic goes on")
        results.begin("training", now_s=time.time())
        status = await run_command("retrain", *self.config.retrain_flags)
        if status not in (0, NOTHING_LEARNED):
            raise DemoError(f"`tooln1-agent retrain` ended with exit status {status}")
        results.read_metrics()
        made = self.adapters.list() if self.config.adapters.is_dir() else ()
        results.candidate = made[-1].version if made else None

    def _look_at_verdict(self, results: Results, candidate: str) -> None:
        """Read what the gate, which is part of `retrain`, has written beside the candidate."""
        self.show.step("Gate", "candidate against live, on held-out labelled traffic")
        report = self.adapters.get(candidate).path / "gate.json"
        results.gate = GateReport.model_validate_json(report.read_bytes())
        for reason in results.gate.reasons:
            self.show.line(f"{results.gate.outcome}: {reason}")
        if results.gate.outcome != "pass" and self.config.promote_anyway:
            self.show.line("[yellow]promoted by hand all the same, to show the swap[/]")
            self.adapters.promote(candidate, reason="by hand, in a run too small to judge")
        results.promoted = self.adapters.live_version()

    async def _await_swap(self, results: Results, version: str) -> None:
        self.show.step("Swap", f"the running server takes up {version}")
        moved_s = self.adapters.history()[-1].at.timestamp()
        results.begin("swap", now_s=moved_s)
        deadline = time.monotonic() + self.config.swap_timeout_s
        while not (new := [one for one in results.trickle if one.adapter == version]):
            if time.monotonic() > deadline:
                raise DemoError(
                    f"no answer came from {version} within {self.config.swap_timeout_s:.0f} s; "
                    f"see {self.config.out / 'server.log'}"
                )
            await asyncio.sleep(0.05)
        results.swap_s = min(one.started_s for one in new) - moved_s
        self.show.line(
            f"the first request that it answered came {results.swap_s:.1f} s after the promotion"
        )
        await asyncio.sleep(AFTER_SWAP_S)


def read_arguments(arguments: Sequence[str] | None = None) -> DemoConfig:
    """Turn the command line into a config."""
    defaults = DemoConfig()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="every step in small")
    parser.add_argument("--out", type=Path, default=defaults.out, help="where to write")
    parser.add_argument("--model", default=defaults.model, help="'seed' or a model directory")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of requests and people")
    given = parser.parse_args(arguments)
    config = replace(defaults, out=given.out, model=given.model, seed=given.seed)
    return fast(config) if given.fast else config


def make_room(out: Path) -> None:
    """Remove what an earlier run left; refuse a directory that holds anything else."""
    mark = out / ".tooln1-demo"
    if out.exists():
        if any(out.iterdir()) and not mark.exists():
            raise DemoError(f"{str(out)!r} is not of an earlier demo; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    mark.touch()


def main() -> int:
    """Run the demo; return the exit status."""
    console = Console()
    config = read_arguments()
    began = time.monotonic()
    try:
        make_room(config.out)
        results = asyncio.run(Demo(config, console).run())
    except DemoError as failure:
        console.print(f"\n[bold red]The demo failed:[/] {failure}", highlight=False)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\nStopped; the processes it had started are ended.")
        return 130
    write_results(results)
    show_results(console, results)
    console.print(f"\nDone in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
