"""How many Store transactions at once: one more while all is well, half as many when the service is in trouble."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.answers.fault import hold_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """`limit` requests at once, never more than `most` (service.concurrency) and never fewer than one."""

    limit: int
    most: int
    well: int = 0  # good answers since the last change

    def after(self, answer: Answer, *, calm: bool) -> Concurrency:
        """Batches that were under way when the breaker opened (not `calm`) report the same trouble, so it halves once."""
        if answer.status in (408, 429, 503, 504) or answer.loss is Loss.TIMEOUT:
            return self.in_trouble() if calm else self
        if answer.status is not None and answer.status < 500 and hold_for(answer) is None:
            return self.went_well()
        return self

    def went_well(self) -> Concurrency:
        """An answer that said nothing of trouble. As many of them as there are slots make room for one more."""
        if self.limit >= self.most:
            return self
        if self.well + 1 >= self.limit:
            return replace(self, limit=self.limit + 1, well=0)
        return replace(self, well=self.well + 1)

    def in_trouble(self) -> Concurrency:
        """429, 503 or a timeout."""
        return replace(self, limit=max(1, self.limit // 2), well=0)
