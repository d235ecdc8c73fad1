"""What raises in the trainer, under the runtime's root so that one handler covers both.

ToolN1Error
└── TrainerError
    ├── NothingToTrain     no example can be trained on; says how to get some
    ├── NoSpread           every group was all right or all wrong, so there was nothing to learn
    ├── Diverged           a loss, gradient or weight stopped being a finite number
    │   └── Exploded       the policy has left the base model too far behind
    ├── UnsupportedModel   the base model is of a kind whose log-probs would come out wrong
    └── CheckpointError    a run or checkpoint is missing, damaged, or of other settings
"""

from __future__ import annotations

from tooln1_agent.errors import ToolN1Error


class TrainerError(ToolN1Error):
    """Root of what the trainer raises on purpose."""


class NothingToTrain(TrainerError):
    """No example can be trained on."""


class NoSpread(TrainerError):
    """Every group was all right or all wrong: nothing to learn from."""


class Diverged(TrainerError):
    """A loss, gradient or weight is no finite number; the state before it was kept."""


class UnsupportedModel(TrainerError):
    """The model does something that the trainer's forward pass would leave out."""


class Exploded(Diverged):
    """The policy is too far from the base model; its weights are not kept."""


class CheckpointError(TrainerError):
    """A run or one of its checkpoints is missing, damaged, or of other settings."""
