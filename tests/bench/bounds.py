"""Bounds for ratios (bounds.toml), and which of a run went beyond theirs.

Only ratios: how long something takes depends on the machine, and on what else it does.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).with_name("bounds.toml")


@dataclass(frozen=True, slots=True)
class Bound:
    """What a ratio may be: `measured` when the bound was set, and how far it may be from that."""

    name: str
    measured: float
    at_most: float = float("inf")
    at_least: float = 0.0

    @property
    def result(self) -> str:
        """The result that has the ratio."""
        return self.name.partition(".")[0]

    @property
    def limits(self) -> str:
        """What the ratio may be, in words."""
        least = [f"at least {self.at_least:g}"] if self.at_least else []
        most = [f"at most {self.at_most:g}"] if self.at_most < float("inf") else []
        return ", ".join([*least, *most, f"{self.measured:g} when that was set"])


def read(text: str) -> tuple[Bound, ...]:
    """Return the bounds that a TOML text holds, by RESULT.RATIO.

    Raises ValueError for one that nothing can go beyond, or that was beyond itself when it was set,
    and TypeError for a key that no bound has.
    """
    bounds = []
    for result, ratios in tomllib.loads(text).items():
        for ratio, values in ratios.items():
            bound = Bound(f"{result}.{ratio}", **values)
            if bound.at_most == float("inf") and bound.at_least <= 0:
                raise ValueError(f"{bound.name}: at_most or at_least is missing")
            if not bound.at_least <= bound.measured <= bound.at_most:
                raise ValueError(f"{bound.name}: {bound.measured:g} was measured, which is beyond")
            bounds.append(bound)
    return tuple(bounds)


def beyond(bounds: Iterable[Bound], ratios: Mapping[str, float]) -> list[str]:
    """Return a sentence for each bound that was broken, or that nothing was measured for."""
    return [said for bound in bounds if (said := _said(bound, ratios.get(bound.name)))]


def _said(bound: Bound, ratio: float | None) -> str:
    if ratio is None:
        return f"{bound.name}: not measured"
    if bound.at_least <= ratio <= bound.at_most:
        return ""
    edge = bound.at_least if ratio < bound.at_least else bound.at_most
    return (
        f"{bound.name}: {ratio:.3g} is {ratio / edge:.2f} times the bound of {edge:g}"
        f" ({bound.measured:g} when it was set)"
    )
