"""The rule of the home office: whether a reply entered what it was asked to."""

from __future__ import annotations

from examples.grounding import Ways, rule_for
from examples.home_office.tools import read_day, read_number, read_switch
from examples.spelling import read_time

entered_as_asked = rule_for(
    Ways(
        read={
            "fetch_day": read_day, "dial_day": read_day, "drive_day": read_day,
            "talk_time": read_time, "debt_no": read_number, "rush": read_switch,
        },
        texts=frozenset({"supply", "wording"}),
        switches={("restock_stationery", "rush"): "rush"},
    )
)  # fmt: skip
