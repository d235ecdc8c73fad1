"""The rule of the marina: whether a reply entered what it was asked to."""

from __future__ import annotations

from examples.grounding import Ways, rule_for
from examples.marina.tools import read_day, read_person, read_switch
from examples.spelling import read_minutes, read_number, read_time

entered_as_asked = rule_for(
    Ways(
        read={
            "dock_day": read_day, "coast_day": read_day, "lift_hour": read_time,
            "sauna_hour": read_time, "guest_hour": read_time, "steam_length": read_minutes,
            "mast_no": read_number, "pilot": read_person, "sail_owner": read_person,
            "basket_friend": read_person, "sail_heat": read_switch,
        },
        texts=frozenset({"boat_name"}),
        switches={("dry_sail", "sail_heat"): "heat"},
    )
)  # fmt: skip
