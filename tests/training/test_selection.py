from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from tooln1_agent.examples import Example
from trainer.config import GrpoConfig
from trainer.selection import OrderState, PromptOrder, shuffled_labels

Make = Callable[..., list[Example]]


def test_every_example_comes_once_before_any_comes_twice(make_examples: Make) -> None:
    examples = make_examples(["on"] * 13)
    order = PromptOrder(examples, GrpoConfig(), known_until=None)
    first, second = order.draw(13), order.draw(13)
    assert {e.id for e in first} == {e.id for e in second} == {e.id for e in examples}
    assert [e.id for e in first] != [e.id for e in second]


def test_the_order_depends_on_seed_and_examples_only(make_examples: Make) -> None:
    examples = make_examples(["on"] * 9)

    def drawn(given: list[Example], seed: int) -> list[str]:
        order = PromptOrder(given, GrpoConfig(seed=seed), known_until=None)
        return [e.id for e in order.draw(20)]

    assert drawn(examples, 1) == drawn(examples[::-1], 1)
    assert drawn(examples, 1) != drawn(examples, 2)


def test_an_order_goes_on_where_another_stopped(make_examples: Make) -> None:
    examples = make_examples(["on", "off", "", "on", "off", "on"])
    until = examples[2].created_at
    whole = PromptOrder(examples, GrpoConfig(), known_until=until)
    drawn = whole.draw(7)
    whole.note({e.id: number < 3 for number, e in enumerate(drawn)}, step=0)
    drawn += whole.draw_again(2, step=2, besides=set())
    other = PromptOrder(examples, GrpoConfig(), known_until=until)
    other.restore(OrderState.model_validate_json(whole.state.model_dump_json()))
    assert sum(whole.state.drawn) + sum(whole.state.again) == len(drawn)
    assert other.draw_again(4, step=3, besides=set()) == whole.draw_again(4, step=3, besides=set())
    assert other.draw(30) == whole.draw(30)


def test_a_state_of_other_pools_is_refused(make_examples: Make) -> None:
    order = PromptOrder(make_examples(["on"] * 3), GrpoConfig(), known_until=None)
    with pytest.raises(ValueError, match="2 counts for 1 pools"):
        order.restore(OrderState(drawn=(1, 2), again=(0, 0)))


def test_out_of_turn_come_those_that_showed_spread_the_longest_ago_first(
    make_examples: Make,
) -> None:
    order = PromptOrder(make_examples(["on"] * 12), GrpoConfig(), known_until=None)
    a, b, c, d, e = (example.id for example in order.draw(5))
    order.note({a: True, b: True, c: False}, step=0)
    order.note({d: True, e: True, a: False}, step=1)
    order.note({b: True}, step=2)

    def ids(count: int, *, step: int, besides: frozenset[str] = frozenset()) -> list[str]:
        return [example.id for example in order.draw_again(count, step=step, besides=besides)]

    assert ids(2, step=3) == [d, e]  # a and c are sure now, b was sampled too lately
    assert ids(3, step=4, besides=frozenset({e}))[:2] == [d, b]
    assert order.state.again == (4,)
    assert order.state.drawn == (6,)  # where none waited, the next in turn came


def test_out_of_turn_the_shares_hold_too(make_examples: Make) -> None:
    order = PromptOrder(make_examples(["on", ""] * 20), GrpoConfig(), known_until=None)
    drawn = order.draw(40)
    order.note({example.id: example.is_call for example in drawn}, step=0)
    assert sum(e.is_call for e in order.draw_again(20, step=2, besides=set())) == 10


def test_half_of_the_prompts_are_new_however_few_are(make_examples: Make) -> None:
    examples = make_examples(["on"] * 20)
    until = examples[15].created_at
    order = PromptOrder(examples, GrpoConfig(), known_until=until)
    ages = Counter(e.created_at > until for e in order.draw(40))
    assert ages == {True: 20, False: 20}


@pytest.mark.parametrize("offset", [-1, 1000])
def test_all_are_drawn_alike_where_all_are_new_or_none_is(make_examples: Make, offset: int) -> None:
    examples = make_examples(["on"] * 8)
    until = examples[0].created_at + timedelta(minutes=offset)
    order = PromptOrder(examples, GrpoConfig(), known_until=until)
    assert len({e.id for e in order.draw(8)}) == 8


def test_rare_no_call_examples_are_brought_up_to_their_floor(make_examples: Make) -> None:
    examples = make_examples(["on"] * 99 + [""])
    order = PromptOrder(examples, GrpoConfig(no_call_floor=0.2), known_until=None)
    assert sum(not e.is_call for e in order.draw(50)) == 10


def test_frequent_no_call_examples_keep_their_share(make_examples: Make) -> None:
    order = PromptOrder(make_examples(["on", ""] * 10), GrpoConfig(), known_until=None)
    assert sum(not e.is_call for e in order.draw(20)) == 10


@pytest.fixture
def mixed(make_examples: Make) -> list[Example]:
    """Ten prompts that were served, and thirty that were imported before."""
    served = make_examples(["on"] * 10, begin=30)
    imported = [e.model_copy(update={"imported": True}) for e in make_examples(["off"] * 30)]
    return [*imported, *served]


@pytest.mark.parametrize(("share", "expected"), [(0.2, 8), (0.0, 0), (None, 30)])
def test_imported_prompts_have_their_share(
    mixed: list[Example], share: float | None, expected: int
) -> None:
    order = PromptOrder(mixed, GrpoConfig(imported_share=share), known_until=None)
    assert sum(e.imported for e in order.draw(40)) == expected


def test_half_of_the_served_prompts_are_new_beside_imported_ones(mixed: list[Example]) -> None:
    config = GrpoConfig(imported_share=0.2)
    order = PromptOrder(mixed, config, known_until=mixed[31].created_at)
    drawn = order.draw(50)
    ages = Counter(e.created_at > mixed[31].created_at for e in drawn if not e.imported)
    assert ages == {True: 20, False: 20}


def test_imported_prompts_alone_are_all_there_is(make_examples: Make) -> None:
    examples = [e.model_copy(update={"imported": True}) for e in make_examples(["on"] * 4)]
    order = PromptOrder(examples, GrpoConfig(imported_share=0.2), known_until=None)
    assert len({e.id for e in order.draw(4)}) == 4


def test_shuffled_labels_are_the_same_labels_on_other_prompts(make_examples: Make) -> None:
    examples = make_examples([f"tool{n}" for n in range(12)])
    shuffled = shuffled_labels(examples, seed=3)
    assert [e.id for e in shuffled] == [e.id for e in examples]
    assert all(a.target != b.target for a, b in zip(shuffled, examples, strict=True))
    assert {e.target.model_dump_json() for e in shuffled} == {
        e.target.model_dump_json() for e in examples
    }
