"""Labels from rules: the operator's verifiers, asked about logged turns or about what is sampled.

Of logged turns only results of tools that ran here count: what a client says its own tools returned
is no evidence, or whoever sends requests could label them. Turns whose run was cancelled say
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tooln1_agent.examples import LabelEvent, Verify
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.rules import BUILT_IN, Outcome, Rule, ask
from tooln1_agent.transcript import Interaction, prompt_of_turn

AUTHOR = "rules"


def find_verified(
    store: ReplayStore, rules: Mapping[str, Rule], *, now: datetime | None = None
) -> Iterator[LabelEvent]:
    """Yield what the rules say of the turns that ran tools; `no_train` is honoured.

    A turn is accepted if some rule accepts it and none objects, rejected if one objects.

    Args:
        now: when the labels are given.
    """
    own = {name: rule for name, rule in rules.items() if name not in BUILT_IN}
    now = now or datetime.now(UTC)
    for interaction in store.interactions():
        if interaction.no_train:
            continue
        for index in range(len(interaction.turns)):
            event = _label(interaction, index, own, now=now)
            if event is not None:
                yield event


def find_judgeable(
    store: ReplayStore, rule: str, *, now: datetime | None = None
) -> Iterator[LabelEvent]:
    """Yield, for each request that nobody labelled, the target that a rule shall judge replies to.

    Requests are conversations that end with what the user says; `no_train` is honoured. The rule is
    given what it is given of a logged turn: the prompt.

    Args:
        now: when the labels are given.
    """
    now = now or datetime.now(UTC)
    for interaction in store.interactions():
        asks = bool(interaction.messages) and interaction.messages[-1].role == "user"
        if interaction.no_train or not asks or not interaction.tools:
            continue
        if store.labels(interaction.id):
            continue
        yield LabelEvent(
            interaction=interaction.id,
            verdict="target",
            target=Verify(rule=rule, given=_given(interaction, 0)),
            source="verifier",
            author=AUTHOR,
            evidence=f"{rule!r} judges what is sampled for it",
            created_at=now,
        )


def _given(interaction: Interaction, index: int) -> dict[str, Any]:
    """Return what a rule is told beside the results: the prompt of the turn."""
    shown = prompt_of_turn(interaction, index)
    return {"messages": [{"role": message.role, "content": message.content} for message in shown]}


def _label(
    interaction: Interaction, index: int, rules: Mapping[str, Rule], *, now: datetime
) -> LabelEvent | None:
    results = interaction.turns[index].results
    if not results or any(result.error == "cancelled" for result in results):
        return None
    outcome = Outcome(results, _given(interaction, index))
    opinions = {name: ask(name, rule, outcome) for name, rule in rules.items()}
    accepting = [said.reason for said in opinions.values() if said.right]
    objections = [
        f"{name}: {said.reason}" for name, said in opinions.items() if said.right is False
    ]
    if not accepting and not objections:
        return None
    return LabelEvent(
        interaction=interaction.id,
        turn=index,
        verdict="reject" if objections else "accept",
        source="verifier",
        author=AUTHOR,
        evidence="; ".join(objections or accepting),
        created_at=now,
    )
