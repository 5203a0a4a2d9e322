"""What a measure is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.figures import Figure
from benchmarks.stage import Stage

# One round of one contender.
Run = Callable[[Stage, Contender], list[Figure]]


@dataclass(frozen=True, slots=True)
class Measure:
    """`key` names it on the command line; `runs` has the function that measures each contender, by the contender's name."""

    key: str
    title: str
    explanation: str
    runs: dict[str, Run]

    @property
    def contenders(self) -> Sequence[str]:
        return list(self.runs)
