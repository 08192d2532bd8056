"""Whether the rounds go on, and who waits for that."""

from __future__ import annotations

import threading


class Course:
    """Shares the condition that guards the rounds' state, and tells it of every change."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self.finished = self.stopping = False
        """All rounds are done; the server is being stopped."""
        self.failure: BaseException | None = None
        """What stopped the rounds."""
        self._folding = 0

    @property
    def over(self) -> bool:
        """Whether no more rounds will come."""
        return self.finished or self.failure is not None

    def finish(self) -> None:
        """All rounds are done."""
        with self._changed:
            self.finished = True
            self._changed.notify_all()

    def fail(self, failure: BaseException) -> None:
        """Stop with an error, which `wait_finished` raises."""
        with self._changed:
            self.failure = failure
            self._changed.notify_all()

    def stop(self) -> None:
        """The ticker is to end."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()

    def wait_finished(self, timeout_secs: float | None) -> bool:
        """True when all rounds are done; False at the timeout.

        Raises:
            FedvoiceError: what stopped the server, e.g. `store-full`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.over, timeout_secs)
            if self.failure is not None:
                raise self.failure
            return self.finished

    def folding(self) -> None:
        """An accepted report is on its way into the sum."""
        with self._changed:
            self._folding += 1

    def folded(self) -> None:
        """It has arrived."""
        with self._changed:
            self._folding -= 1
            self._changed.notify_all()

    def wait_folded(self, limit_secs: float) -> None:
        """Wait until no report is on its way, or the rounds have failed.

        Raises:
            TimeoutError: the limit.
        """
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: self._folding == 0 or self.failure is not None, limit_secs
            )
        if not arrived:
            raise TimeoutError(f"a report was not folded within {limit_secs:g} s")
