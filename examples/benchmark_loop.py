"""The whole loop on benchmark requests: serve, log, label with gold calls, retrain, gate, compare.

python examples/benchmark_loop.py --data FILE.jsonl.gz --name NAME --out DIR [--rows 200] [-- FLAGS]

Every request brings its own tools and runs through `tooln1-agent serve` with the `openai` client.
The rows are split by user text into traffic, which is learned from, and held-out requests. What
it prints says whether the loop works on such requests; it is no benchmark result, for the model
has then been trained on part of the benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from examples.benchmark_play import Played, Player, choose, split
from examples.benchmark_results import Results, counts, show
from examples.demo_processes import COMMAND, DemoError, serving, tail
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.datasets import BenchmarkRow, label_from_rows
from tooln1_agent.errors import DataError
from tooln1_agent.gate_report import GateReport
from tooln1_agent.replay.store import ReplayStore

AGENT = "examples.benchmark_agent:agent"
GATE_SAID_NO = 1
NOTHING_LEARNED = 3
"""Exit status of `tooln1-agent retrain` where every group was flat."""
HOLDOUT_SHARE = 0.25
"""The same as in `ReplayStore.examples`, which splits again for trainer and gate."""
START_TIMEOUT_S = 300.0
SWAP_TIMEOUT_S = 60.0
RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How much of what; everything else is the default of the commands."""

    data: Path
    name: str
    out: Path
    rows: int = 200
    """How many rows are drawn from the file, traffic and held out together."""
    seed: int = 7
    """Decides which rows, and the rollouts."""
    model: str = "seed"
    context_limit: int = 2048
    """Prompt and reply together, in tokens; a longer request is refused and counts as wrong."""
    max_tokens: int = 192
    """Longest reply, in serving, training and at the gate."""
    concurrency: int = 8
    steps: int = 12
    """Optimizer steps of GRPO."""
    retrain_flags: tuple[str, ...] = ()
    """More flags for `tooln1-agent retrain`."""

    @property
    def store(self) -> Path:
        return self.out / "replay.db"

    @property
    def adapters(self) -> Path:
        return self.out / "adapters"

    @property
    def serve_flags(self) -> list[str]:
        places = ["--store", str(self.store), "--adapters", str(self.adapters)]
        return ["--model", self.model, "--context-limit", str(self.context_limit), *places]

    @property
    def retrain_command(self) -> list[str]:
        places = ["--store", str(self.store), "--out", str(self.adapters)]
        limits = ["--context-limit", str(self.context_limit), "--max-tokens", str(self.max_tokens)]
        run = ["--model", self.model, "--steps", str(self.steps), "--seed", str(self.seed)]
        return ["retrain", *places, *run, *limits, "--no-gate", *self.retrain_flags]

    def gate_command(self, candidate: str) -> list[str]:
        limits = ["--context-limit", str(self.context_limit), "--max-tokens", str(self.max_tokens)]
        places = [str(self.store), str(self.adapters), candidate]
        return ["gate", *places, "--model", self.model, *limits, "--promote"]


class Loop:
    """One run of the loop."""

    def __init__(self, config: LoopConfig, console: Console) -> None:
        self.config, self.console = config, console
        settings = asdict(config) | {"data": config.data.name, "out": str(config.out)}
        self.results = Results(settings)
        self.rows = choose(config.data, n=config.rows, seed=config.seed)
        self.traffic, self.held_out = split(self.rows, holdout_share=HOLDOUT_SHARE)

    async def run(self) -> Results:
        """Go through all the steps.

        Raises DemoError where one of them did not do what it must.
        """
        config, results = self.config, self.results
        self._say(f"{config.name}: {len(self.traffic)} as traffic, {len(self.held_out)} held out")
        log = config.out / "server.log"
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                serving(AGENT, config.serve_flags, log=log, ready_timeout_s=START_TIMEOUT_S)
            )
            store = stack.enter_context(ReplayStore(config.store))
            player = Player(
                server.url, store, max_tokens=config.max_tokens, concurrency=config.concurrency
            )
            stack.push_async_callback(player.aclose)
            results.traffic = await self._play(player, "traffic", self.traffic)
            results.before = await self._play(player, "held out, before", self.held_out)
            results.labels = label_from_rows(store, self.rows, author=config.name)
            self._say(f"{results.labels.added} gold labels on what was served")
            results.base_model = next(store.interactions(limit=1)).base_model
            await self._retrain()
            if results.candidate is not None:
                await self._judge(results.candidate)
            if results.promoted is not None:
                await self._await_swap(player, results.promoted)
                results.after = await self._play(
                    player, "held out, after", self.held_out, learn=False
                )
        return results

    async def _play(
        self, player: Player, what: str, rows: Sequence[BenchmarkRow], *, learn: bool = True
    ) -> list[Played]:
        with self._timed(what), Progress(console=self.console, transient=True) as progress:
            bar = progress.add_task(what, total=len(rows))
            played = await player.play(rows, on_done=lambda: progress.advance(bar), learn=learn)
        self._say(f"{what}: right {counts(played)['all']}")
        return played

    async def _retrain(self) -> None:
        """Train in a process of its own; it may end without an adapter, and says why."""
        log = self.config.out / "retrain.log"
        with self._timed("retrain"):
            self.results.retrain_status = await _run(self.config.retrain_command, log=log)
        self.results.retrain_said = tail(log, lines=1)
        if self.results.retrain_status not in (0, NOTHING_LEARNED):
            raise DemoError(f"`tooln1-agent retrain` failed:\n{tail(log)}")
        self._say(f"retrain: {self.results.retrain_said}")
        if self.results.retrain_status == 0:
            self.results.candidate = AdapterStore(self.config.adapters).list()[-1].version

    async def _judge(self, candidate: str) -> None:
        log = self.config.out / "gate.log"
        with self._timed("gate"):
            status = await _run(self.config.gate_command(candidate), log=log)
        if status not in (0, GATE_SAID_NO):
            raise DemoError(f"`tooln1-agent gate` ended with exit status {status}:\n{tail(log)}")
        store = AdapterStore(self.config.adapters)
        kept = (store.get(candidate).path / "gate.json").read_bytes()
        self.results.gate = GateReport.model_validate_json(kept)
        self.results.promoted = store.live_version()

    async def _await_swap(self, player: Player, version: str) -> None:
        deadline = time.monotonic() + SWAP_TIMEOUT_S
        while await player.adapter() != version:
            if time.monotonic() > deadline:
                raise DemoError(f"{version} is live and does not serve: see the server's log")
            await asyncio.sleep(0.5)
        self._say(f"the server serves {version}")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.results.seconds[what] = time.monotonic() - began

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


async def run_loop(config: LoopConfig, console: Console) -> Results:
    """Run the loop; SIGTERM ends it, and the processes that it started."""
    task = asyncio.current_task()
    assert task is not None  # a coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Loop(config, console).run()


async def _run(arguments: Sequence[str], *, log: Path) -> int:
    """Run a `tooln1-agent` command, its output in a file; return its exit status."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *arguments, stdout=output, stderr=output
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def read_arguments(arguments: Sequence[str] | None = None) -> LoopConfig:
    """Turn the command line into a config."""
    defaults = LoopConfig(Path(), "", Path())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="benchmark rows (JSON Lines)")
    parser.add_argument("--name", required=True, help="what to call the data, e.g. seal-tools")
    parser.add_argument("--out", type=Path, required=True, help="new directory to write to")
    parser.add_argument("--model", default=defaults.model, help="as in tooln1-agent serve")
    for name in ("rows", "seed", "context-limit", "max-tokens", "concurrency", "steps"):
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("retrain_flags", nargs="*", metavar="-- FLAGS", help="for retrain")
    given = vars(parser.parse_args(arguments))
    return replace(defaults, **given | {"retrain_flags": tuple(given["retrain_flags"])})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the loop; return the exit status."""
    console = Console()
    config = read_arguments(arguments)
    try:
        if config.out.exists() and any(config.out.iterdir()):
            raise DemoError(f"{str(config.out)!r} is not empty; give another --out")
        config.out.mkdir(parents=True, exist_ok=True)
        results = asyncio.run(run_loop(config, console))
    except (DemoError, DataError) as failure:
        console.print(f"The loop failed: {failure}", highlight=False, markup=False, soft_wrap=True)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped; the processes it had started are ended.")
        return 130
    show(console, results)
    written = config.out / RESULTS
    written.write_text(json.dumps(results.json(), indent=2, ensure_ascii=False), encoding="utf-8")
    console.print(f"everything is in {written}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
