"""An interaction as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from tooln1_agent.cli.output import console
from tooln1_agent.examples import LabelEvent
from tooln1_agent.prompt import calls_text
from tooln1_agent.transcript import Interaction, Turn

_ASKED_CHARS, _DID_CHARS, _CONTENT_CHARS = 48, 60, 1000


def summary(interaction: Interaction) -> tuple[str, ...]:
    """Return one row: id, when, who, adapter, turns, stop, what was asked, what it did first."""
    users = [m.content for m in interaction.messages if m.role == "user"]
    first = interaction.turns[0] if interaction.turns else None
    return (
        interaction.id,
        f"{interaction.created_at:%Y-%m-%d %H:%M:%S}",
        interaction.principal,
        (first.completion.adapter or "base") if first else "",
        str(len(interaction.turns)),
        interaction.stop or "unfinished",
        _short(users[-1] if users else "", _ASKED_CHARS),
        _short(_did(first), _DID_CHARS) if first else "",
    )


def print_interaction(interaction: Interaction, labels: Sequence[LabelEvent]) -> None:
    """Print an interaction from its prompt to its last turn, labels beside the turns."""
    _line("interaction", f"{interaction.id}  (episode {interaction.episode})")
    _line("served", f"{interaction.created_at:%Y-%m-%d %H:%M:%S %Z} by {interaction.base_model}")
    _line("asked by", interaction.principal or "-")
    _line("stop", interaction.stop or "unfinished")
    if interaction.no_train:
        _line("no_train", "never learned from")
    _line("tools", ", ".join(spec.name for spec in interaction.tools) or "-")
    for message in interaction.messages:
        said = message.content or calls_text(message.tool_calls)
        _line(message.role, _short(said, _CONTENT_CHARS))
    for index, turn in enumerate(interaction.turns):
        _print_turn(index, turn)
        for event in labels:
            if event.turn == index:
                _print_label(event)
    if not interaction.turns:
        for event in labels:
            _print_label(event)


def _print_turn(index: int, turn: Turn) -> None:
    usage = turn.completion.usage
    console.print(
        f"\n[bold]turn {index}[/]  adapter {escape(turn.completion.adapter or 'base')}, "
        f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"
    )
    if turn.reply.think:
        _line("thought", _short(turn.reply.think, _CONTENT_CHARS))
    if turn.reply.calls:
        _line("calls", calls_text(turn.reply.calls))
    if turn.reply.answer is not None:
        _line("answer", _short(turn.reply.answer, _CONTENT_CHARS))
    if turn.reply.faults:
        _line("faults", ", ".join(turn.reply.faults))
        _line("text", _short(turn.completion.text, _CONTENT_CHARS))
    for result in turn.results:
        name = f"{result.call.name} ({result.error or 'ok'}, {result.duration_s:.3f} s)"
        _line("result", f"{name}: {_short(result.content, _CONTENT_CHARS)}")


def _print_label(event: LabelEvent) -> None:
    target = "" if event.target is None else f": {event.target.model_dump_json()}"
    note = f" ({event.evidence})" if event.evidence else ""
    _line("label", f"{event.source} {event.verdict} by {event.author or '-'}{target}{note}")


def _line(name: str, text: str) -> None:
    console.print(f"[dim]{name:>11}[/]  {escape(text)}", soft_wrap=True)


def _did(turn: Turn) -> str:
    """Return what a turn did, in short."""
    reply = turn.reply
    if reply.calls:
        return ", ".join(call.name for call in reply.calls)
    if reply.answer is not None:
        return reply.answer
    return f"({', '.join(reply.faults)})" if reply.faults else "(no call fits)"


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
