"""What can be watched from outside: Prometheus metrics of one server, and its log."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tooln1_agent.config import LogLevel
from tooln1_agent.messages import Completion
from tooln1_agent.run_events import RunEvent, RunResult, ToolsFinished, TurnFinished

BASE = "base"
"""What metrics call the base model alone."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one app, in a registry of its own, so that two apps never clash."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "tooln1_requests", "HTTP requests answered", ["path", "status"], registry=own
        )
        self.request_seconds = Histogram(
            "tooln1_request_seconds",
            "Time to answer, streams to their end",
            ["path"],
            buckets=_SECONDS,
            registry=own,
        )
        self.model_calls = Counter(
            "tooln1_model_calls", "Model calls by adapter", ["adapter"], registry=own
        )
        self.model_calls_in_flight = Gauge(
            "tooln1_model_calls_in_flight", "Model calls that run now", ["adapter"], registry=own
        )
        self.model_call_seconds = Histogram(
            "tooln1_model_call_seconds", "Time of a model call", buckets=_SECONDS, registry=own
        )
        self.tokens = Counter("tooln1_tokens", "Tokens of finished calls", ["kind"], registry=own)
        self.faults = Counter("tooln1_faults", "Faults in replies", ["fault"], registry=own)
        self.stops = Counter(
            "tooln1_interactions", "Interactions by why they ended", ["stop"], registry=own
        )
        self.tool_results = Counter(
            "tooln1_tool_results", "Results of the server's tools", ["outcome"], registry=own
        )
        self.labels = Counter(
            "tooln1_labels", "Label events taken in", ["source", "verdict"], registry=own
        )
        self.adapter_info = Gauge(
            "tooln1_adapter_info", "1 for the adapter that serves", ["version"], registry=own
        )
        self.adapter_swaps = Counter(
            "tooln1_adapter_swaps", "Moves to another adapter", registry=own
        )
        self.adapter_failures = Counter(
            "tooln1_adapter_failures", "Adapters that could not be put to use", registry=own
        )

    def render(self) -> bytes:
        """Return the text form that Prometheus reads."""
        return generate_latest(self.registry)

    def count_event(self, event: RunEvent) -> None:
        """Count what one event of a run says."""
        match event:
            case TurnFinished(turn=turn):
                for fault in turn.reply.faults:
                    self.faults.labels(fault).inc()
            case ToolsFinished(results=results):
                for result in results:
                    self.tool_results.labels(result.error or "ok").inc()
            case RunResult(stop=stop):
                self.stops.labels(stop).inc()
            case _:
                pass

    def count_completion(self, completion: Completion) -> None:
        """Count a finished model call."""
        self.model_calls.labels(completion.adapter or BASE).inc()
        self.tokens.labels("prompt").inc(completion.usage.prompt_tokens)
        self.tokens.labels("completion").inc(completion.usage.completion_tokens)

    def name_adapter(self, version: str | None) -> None:
        """Say which adapter serves from now on."""
        self.adapter_info.clear()
        self.adapter_info.labels(version or BASE).set(1)


def set_up_logging(level: LogLevel) -> None:
    """Send this package's log to standard error, one line a message."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("tooln1_agent")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
