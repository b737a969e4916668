"""How many subjects one transaction takes: as many as fit into the time that others can wait.

A large transaction is the cheapest and holds everybody up; so the size follows the measured time.
Part of that time is the same for every size, a wait for the disk above all, so the size is felt
for: a quick step lets it grow, a slow one shrinks it. Dividing the target by the time of one
subject would end at tiny sets on a slow disk, where large ones are wanted most.
"""

from dataclasses import dataclass

QUICK = 0.07
"""Seconds below which a transaction may be larger next time."""

SLOW = 0.11
"""Seconds above which it is smaller next time; well below the most, for machines have bad days."""

MOST = 0.25
"""Seconds after which a statement of a set is cancelled and the set made smaller."""


@dataclass
class Pace:
    """Gives the size of the next step, given how long the last one took."""

    size: int = 100
    least: int = 1
    most: int = 2_000

    def observe(self, done: int, seconds: float) -> None:
        """Take in that a step of so many took so long."""
        if seconds > SLOW:
            # Far too slow is far too large: one step back, not ten.
            self.size = max(self.least, int(self.size * max(0.25, QUICK / seconds)))
        elif seconds < QUICK and done >= self.size:
            # A step that was cut short by a limit says nothing about larger ones.
            factor = 1.6 if seconds < QUICK / 2 else 1.15
            self.size = min(self.most, int(self.size * factor) + 1)

    def shrink(self) -> None:
        """Halve the size: a step was too much."""
        self.size = max(self.least, self.size // 2)
