"""How many subjects one transaction takes: as many as fit into the time that others can wait.

A large transaction is the cheapest and holds everybody up; so the size follows the measured time.
"""

from dataclasses import dataclass

TARGET = 0.12
"""Seconds that a transaction should take. Half of the most that it may: machines have bad days."""

MOST = 0.25
"""Seconds after which a statement of a set is cancelled and the set made smaller."""


@dataclass
class Pace:
    """Gives the size of the next step, given how long the last one took."""

    size: int = 50
    least: int = 1
    most: int = 2_000

    def observe(self, done: int, seconds: float) -> None:
        """Take in that a step of so many took so long. Grows by half at most, shrinks at once."""
        if done <= 0 or seconds <= 0:
            return
        fitting = int(done * TARGET / seconds)
        # A step that was cut short by a limit says nothing about larger ones.
        if done < self.size and fitting > self.size:
            return
        self.size = max(self.least, min(fitting, self.size + self.size // 2 + 1, self.most))

    def shrink(self) -> None:
        """Halve the size: a step was too much."""
        self.size = max(self.least, self.size // 2)
