"""The probe tells the adapter that was trained from everything else that might be served."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tooln1_agent.errors import AdapterError
from tooln1_agent.probe import FILE, Probe, read_probe

TRAINED, UNTRAINED = (-1.0, -0.5, -0.1), (-2.0, -0.5, -0.6)


def probe(**fields: object) -> Probe:
    given = {
        "prompt_ids": (1, 2),
        "completion_ids": (3, 4, 5),
        "logprobs": TRAINED,
        "base_logprobs": UNTRAINED,
    }
    return Probe.model_validate(given | fields)


def test_the_trainers_own_figures_pass_and_rounding_does_too() -> None:
    probe().check(TRAINED)
    probe().check([value + 0.09 for value in TRAINED])


def test_the_base_model_in_the_adapters_place_is_refused() -> None:
    with pytest.raises(AdapterError, match=r"0\.500 nats off.*base model alone they are 0\.000"):
        probe().check(UNTRAINED)


def test_an_adapter_that_changes_little_must_still_be_nearer_to_itself() -> None:
    near = probe(base_logprobs=tuple(value - 0.08 for value in TRAINED))
    near.check([value - 0.039 for value in TRAINED])
    with pytest.raises(AdapterError, match="0\\.040 are allowed"):
        near.check([value - 0.041 for value in TRAINED])


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(AdapterError, match="nan"):
        probe().check([float("nan")] * 3)


def test_a_probe_comes_back_from_its_file(tmp_path: Path) -> None:
    assert read_probe(tmp_path) is None
    probe().write(tmp_path)
    assert read_probe(tmp_path) == probe()
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(AdapterError, match="train the adapter again"):
        read_probe(tmp_path)


def test_every_token_of_the_reply_has_its_figures() -> None:
    with pytest.raises(ValidationError, match="reply of 3 tokens"):
        probe(logprobs=TRAINED[:2])
