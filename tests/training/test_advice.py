"""Which method `retrain --plan` advises, and what it says of the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tooln1_agent.examples import AnyCall, Example, Verify
from trainer.advice import Holdings, advise, holdings_of

USUAL = Holdings(
    gold=300, judged=0, rejected=0, new=300, span_days=1.0, right_share=0.3, steps_in_time=None
)


@pytest.mark.parametrize(
    ("changes", "method", "because"),
    [
        ({}, "sft+grpo", "300 labels name the calls"),
        ({"right_share": None}, "sft+grpo", "300 labels name the calls"),
        ({"judged": 40}, "sft+grpo", "only GRPO learns from the other 40"),
        ({"gold": 0, "judged": 300}, "grpo", "nothing to imitate"),
        ({"gold": 0, "judged": 300, "steps_in_time": 3.0}, "grpo", "nothing to imitate"),
        ({"right_share": 0.95}, "grpo", "95% of what was served is right"),
        ({"right_share": 0.01}, "sft+grpo", "most groups would be all wrong"),
        ({"right_share": 0.01, "gold": 20}, "sft+grpo", "most groups would be all wrong"),
        ({"gold": 20}, "grpo", "learned by heart"),
        ({"steps_in_time": 12.4}, "sft", "enough for 12 steps"),
        ({"steps_in_time": 120.0}, "sft+grpo", "300 labels"),
    ],
)
def test_what_the_labels_are_decides_the_method(
    changes: dict[str, object], method: str, because: str
) -> None:
    advice = advise(replace(USUAL, **changes))  # type: ignore[arg-type]
    assert advice.method == method
    assert because in advice.reason


def test_labels_that_teach_nothing_or_are_old_are_told_of() -> None:
    assert advise(USUAL).notes == ()
    (few,) = advise(replace(USUAL, gold=1, judged=2)).notes
    assert few.startswith("3 examples are few")
    notes = advise(replace(USUAL, rejected=7, new=0, span_days=200.0)).notes
    assert [note.split(" ", 1)[0] for note in notes] == ["7", "no", "the"]
    assert "200 days" in notes[-1]


def test_only_labels_that_name_the_calls_can_be_imitated(
    make_examples: Callable[..., list[Example]],
) -> None:
    train = make_examples(["on", "", "off", "on"])
    train[2] = train[2].model_copy(update={"target": Verify(rule="lamp_is")})
    train[3] = train[3].model_copy(
        update={"target": AnyCall(), "created_at": train[0].created_at + timedelta(days=3)}
    )
    held = holdings_of(train, new=4, rejected=0, right_share=None, steps_in_time=None)
    assert (held.gold, held.judged, held.span_days) == (2, 2, 3.0)


def test_the_advice_is_told_beside_what_was_set() -> None:
    first, note = advise(replace(USUAL, new=0)).lines(chosen="grpo")
    assert first.startswith("advised: --method sft+grpo (instead of grpo): ")
    assert note.startswith("  note: no label is newer")
    assert "(as set)" in advise(USUAL).lines(chosen="sft+grpo")[0]
