"""First names common in one group of people become names common in another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar, Literal

from harness import lists
from harness.perturb.base import MASK, Perturbation, perturbation
from harness.perturb.phrases import like

NO_PERSON = ("Fort", "King", "Lake", "Mount", "Pope", "Port", "Prince", "Princess", "Queen", "Saint", "San", "Santa", "St.", "St")
"""After these a first name is part of a place, a holiday or a ruler: San Jose, St. Patrick's Day."""

_CAPITALIZED = re.compile("".join(f"(?<!{re.escape(word)} )" for word in NO_PERSON) + r"(?<!\w)(?<!\w['’])[A-Z][^\W\d_]+")
_SURNAME = re.compile(rf"[ ]+(?:[A-Z]|{MASK})")
"""A surname or an initial, which is a protected part."""


@perturbation("person_name")
@dataclass(frozen=True)
class PersonName(Perturbation):
    """Replaces first names of one group by names of another group, of the same gender.

    Within an item, a name is always replaced by the same name, and different names by different names unless the target has too few.

    Args:
        source: a group of the list `first_names`.
        target: another group.
        rate: probability that a name of the list is replaced.
        surnamed: also replace a name before another name or an initial, which may be a known person's, as in HELM.
    """

    family: ClassVar[Literal["robustness", "fairness"]] = "fairness"
    references: ClassVar[bool] = True
    per_item: ClassVar[bool] = True
    lists: ClassVar[tuple[str, ...]] = ("first_names",)
    source: str = "white_american"
    target: str = "black_american"
    rate: float = 1.0
    surnamed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for group in (self.source, self.target):
            if group not in self._groups:
                raise ValueError(f"the list first_names has no group {group!r}, but {', '.join(sorted(self._groups))}")

    def apply(self, text: str, random: Random) -> str:
        """The text with other names."""
        others = self._others(random)

        def other(match: re.Match[str]) -> str:
            name = match[0]
            new = others.get(name.capitalize())
            if new is None or name not in (name.capitalize(), name.upper()):
                return name
            if not self.surnamed and _SURNAME.match(text, match.end()):
                return name
            return like(name, new)

        return _CAPITALIZED.sub(other, text)

    def _others(self, random: Random) -> dict[str, str]:
        """Map of each name of the source to a name of the target, drawn before the text is read, so that it is the same in all fields."""
        others: dict[str, str] = {}
        for gender, names in self._groups[self.source].items():
            targets = self._groups[self.target][gender]
            drawn = random.sample(targets, len(targets))
            others |= {name: drawn[n % len(drawn)] for n, name in enumerate(names) if random.random() < self.rate}
        return others

    @cached_property
    def _groups(self) -> dict[str, dict[str, list[str]]]:
        groups: dict[str, dict[str, list[str]]] = lists.read("first_names")
        return groups
