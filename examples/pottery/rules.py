"""The rule of the pottery studio: whether a reply entered what it was asked to."""

from __future__ import annotations

from examples.grounding import Ways, rule_for
from examples.pottery.tools import read_day, read_hour, read_number, read_switch

entered_as_asked = rule_for(
    Ways(
        read={
            "firing_day": read_day, "wheel_day": read_day, "workshop_day": read_day,
            "back_day": read_day, "ignition_hour": read_hour, "wheel_hour": read_hour,
            "mug_no": read_number, "mold_no": read_number, "ribbon": read_switch,
        },
        texts=frozenset({"shade", "to_say"}),
        switches={("fire_kiln", "overnight"): "overnight", ("wrap_mug", "ribbon"): "ribbon"},
        asked_by={"ring_potter": ("ring", "phone")},
    )
)  # fmt: skip
