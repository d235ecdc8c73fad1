"""The deployments that the seed model has never seen, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from examples.home_office.users import DEPLOYMENT as HOME_OFFICE
from examples.marina.users import DEPLOYMENT as MARINA
from examples.pottery.users import DEPLOYMENT as POTTERY
from trainer.seed.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment, and where its agent is."""

    deployment: Deployment
    app: str
    """For `tooln1-agent serve` and every `--agent`; its rule is named `entered_as_asked`."""


DEPLOYMENTS: Mapping[str, Place] = MappingProxyType(
    {
        "home_office": Place(HOME_OFFICE, "examples.home_office.app:agent"),
        "pottery": Place(POTTERY, "examples.pottery.app:agent"),
        "marina": Place(MARINA, "examples.marina.app:agent"),
    }
)
