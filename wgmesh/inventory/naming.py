"""Names for nodes out of what people call them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

_MOST_CHARACTERS = 50
_UNNAMED = "node"


def node_names(wanted: Sequence[str], given: Collection[int] = ()) -> list[str]:
    """Return a name for each node that an inventory takes, and no other one has.

    At the positions `given` there are good ones that stay. What is wanted and good stays as it is;
    for the rest the likest is taken, with a number where that is another node's.
    """
    found = {position: wanted[position] for position in given}
    taken = {_UNNAMED, *found.values()}
    for position, name in enumerate(wanted):
        if name not in taken and name == _likest(name):
            taken.add(name)
            found[position] = name
    numbers: Counter[str] = Counter()
    for position, text in enumerate(wanted):
        if position not in found:
            base = name = _likest(text)
            while name in taken:
                numbers[base] += 1
                name = f"{base}-{numbers[base]}"
            taken.add(name)
            found[position] = name
    return [found[position] for position in range(len(wanted))]


def _likest(text: str) -> str:
    plain = unicodedata.normalize("NFKD", re.sub("['\u2019]", "", text))
    letters = plain.encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:_MOST_CHARACTERS]
    return name.rstrip("-") or _UNNAMED
