"""The seed world: reproducible, valid, and without the names that deployments keep."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from tool_registry.validation import validate_arguments
from tooln1_agent.examples import Exact, NoCall
from tooln1_agent.prompt import calls_text
from tooln1_agent.reward import score
from trainer.seed import phrasing
from trainer.seed.scene import draw_scene
from trainer.seed.tools import make_family
from trainer.seed.values import Conventions, Kind, Value, draw, spell
from trainer.seed.words import RESERVED
from trainer.seed.world import Episode, draw_episode, play


def episodes(count: int) -> list[Episode]:
    return [draw_episode(random.Random(number)) for number in range(count)]


def test_equal_seeds_give_equal_episodes() -> None:
    assert episodes(50) == episodes(50)


def test_different_seeds_give_different_requests() -> None:
    texts = {episode.messages[-1].content for episode in episodes(200)}
    assert len(texts) > 180


def test_gold_calls_of_the_world_fit_their_schemas() -> None:
    for episode in episodes(150):
        specs = {spec.name: spec for spec in episode.tools}
        assert len(specs) == len(episode.tools)
        for call in episode.calls:
            assert validate_arguments(specs[call.name], call.arguments) is None


def test_the_reply_an_episode_asks_for_earns_the_reward() -> None:
    for episode in episodes(100):
        target = Exact(alternatives=(episode.calls,)) if episode.calls else NoCall()
        body = (
            f"<tool_call>{calls_text(episode.calls)}</tool_call>"
            if episode.calls
            else episode.answer
        )
        reward = score(
            f"<think>{episode.think}</think>\n{body}", tools=episode.tools, target=target
        )
        assert reward.value == 1.0, (episode, reward)


def test_who_asks_plainly_begins_with_no_value_and_puts_none_at_the_noun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = get_args(Kind)
    monkeypatch.setattr(phrasing, "OPENINGS", dict.fromkeys(kinds, ("‡{v} {verb} {noun} {slots}",)))
    monkeypatch.setattr(phrasing, "_AT_THE_NOUN", dict.fromkeys(kinds, ("‡{n} {v}",)))

    def asked(number: int, *, is_plain: bool) -> str:
        rng = random.Random(number)
        scene = draw_scene(rng, is_plain=is_plain)
        return play(rng, scene, situation="call").messages[-1].content

    assert not any("‡" in asked(number, is_plain=True) for number in range(200))
    assert any("‡" in asked(number, is_plain=False) for number in range(200))


def test_every_situation_occurs_about_as_often_as_intended() -> None:
    drawn = [episode.situation for episode in episodes(600)]
    without_call = sum(s in ("no_tool", "missing") for s in drawn) / 600
    assert 0.18 < without_call < 0.32
    assert 0.02 < drawn.count("after_result") / 600 < 0.09
    assert 0.03 < drawn.count("several") / 600 < 0.12


def test_conventions_decide_how_a_date_is_spelled() -> None:
    value = draw(random.Random(3), "date")
    day = value.truth
    spelled = [
        spell(value, "date", {"type": "string"}, Conventions(date=form))
        for form in ("iso", "dotted", "slashed")
    ]
    assert spelled == [f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}", f"{day:%m/%d/%Y}"]


@pytest.mark.parametrize(
    ("conventions", "schema", "expected"),
    [
        (Conventions(ident="hash"), {"type": "string"}, "#4821"),
        (Conventions(ident="hash"), {"type": "integer"}, 4821),
        (Conventions(open_number="text"), {}, "4821"),
        (Conventions(open_number="number"), {}, 4821),
    ],
)
def test_a_stated_type_is_stronger_than_a_convention(
    conventions: Conventions, schema: dict[str, str], expected: object
) -> None:
    assert spell(Value("4821", "4821"), "ident", schema, conventions) == expected


def test_the_training_world_never_draws_a_reserved_name() -> None:
    rng = random.Random(1)
    pairs = [name.split("_") for name in RESERVED if name.count("_") == 1]
    for verb, noun in [*pairs, *(pair[::-1] for pair in pairs)]:
        for _ in range(20):
            family = make_family(
                rng, (verb,), noun, conventions=Conventions(), spelling="described"
            )
            assert family.name not in RESERVED
    drawn = [spec for episode in episodes(300) for spec in episode.tools]
    used = {name for spec in drawn for name in spec.parameters["properties"]}
    assert not RESERVED & (used | {spec.name for spec in drawn})
