"""The arms: ways to learn from one deployment's traffic, the most telling first."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.evidence.retrieval import Place


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to learn; what it does not say is as in the arm "grpo"."""

    name: str
    what: str
    trains: bool = True
    flags: tuple[str, ...] = ()
    """For `tooln1-agent retrain`."""
    label_factor: float = 1.0
    """Labels, as a multiple of the usual number; 0 leaves the deployment's rule alone to judge."""
    wrong: float | None = None
    """Share of the labels that is wrong; None leaves what people said."""
    coin: bool = False
    """Whether a coin pays for calls in training, and the labels only judge at the gate."""
    retrieved: Place | None = None
    """Where the nearest labelled requests stand in the prompt."""
    as_long_as: str | None = None
    """An arm before this one, which it trains as long as."""
    to_convergence: bool = False
    """Whether it has as much time as it needs, within reason."""
    rehearses: bool = True
    """Whether a part of each step rehearses what the model could do before."""
    is_control: bool = False
    """Whether nothing true can be learned, so that the gate must not pass it."""


_WHOLE = ("--adapter-scale", "1")
"""Half of what imitation changes is neither the old reply nor the new one (docs/lab-notes.md)."""
_SFT, _BOTH = ("--method", "sft", *_WHOLE), ("--method", "sft+grpo", *_WHOLE)
_EVERY = (
    Arm("none", "no learning", trains=False),
    Arm("grpo", "GRPO"),
    Arm("sft", "SFT, short thought", flags=_SFT),
    Arm("retrieval", "four corrections as past exchanges", trains=False, retrieved="exchanges"),
    Arm("verifier", "GRPO, no labels, the rule as reward", label_factor=0.0),
    Arm("lr-0", "control: learning rate 0", flags=("--learning-rate", "0"), rehearses=False,
        is_control=True),
    Arm("shuffled", "control: shuffled labels", flags=("--shuffle-labels",), rehearses=False,
        is_control=True),
    Arm("random", "control: random rewards", coin=True, rehearses=False, is_control=True),
    Arm("grpo-alone", "GRPO, nothing rehearsed", rehearses=False),
    Arm("sft-alone", "SFT, short thought, nothing rehearsed", flags=_SFT, rehearses=False),
    Arm("sft+grpo", "SFT, then GRPO; as long as GRPO", flags=_BOTH,
        as_long_as="grpo"),
    Arm("sft-own", "SFT, the model's own thought", flags=(*_SFT, "--thoughts", "own")),
    Arm("labels-100", "GRPO, a third of the labels", label_factor=1 / 3),
    Arm("labels-600", "GRPO, twice the labels", label_factor=2.0),
    Arm("wrong-0", "GRPO, no wrong label", wrong=0.0),
    Arm("wrong-5", "GRPO, 5 % wrong labels", wrong=0.05),
    Arm("wrong-20", "GRPO, 20 % wrong labels", wrong=0.2),
    Arm("retrieval-text", "four corrections in the instructions", trains=False,
        retrieved="instructions"),
    Arm("grpo-long", "GRPO to convergence", to_convergence=True),
    Arm("sft-long", "SFT to convergence", flags=_SFT, to_convergence=True),
    Arm("sft+grpo-long", "SFT, then GRPO, to convergence", flags=_BOTH,
        to_convergence=True),
)  # fmt: skip
ARMS = {arm.name: arm for arm in _EVERY}
FIRST = ("none", "grpo")
"""What is run where no arms are named: the claim."""
