"""What all that is opened and closed has in common."""

from types import TracebackType
from typing import Self


class Closing:
    """Something with a ``close``, which leaving its ``with`` block calls."""

    def close(self) -> None:
        """Let go of what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
