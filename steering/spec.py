"""The text form ``NAME[:KEY=VALUE,…]`` in which a policy, a stock setting or a sink is named."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from steering.errors import BadInput

# `@PATH` is one's own policy. Colon, plus and blanks separate specs from each other.
_NAME = re.compile(r"[a-z][a-z0-9-]*|@[^\s:+]+")
_KEY = re.compile(r"[a-z][a-z0-9_-]*")
_VALUE = re.compile(r"[A-Za-z0-9_.-]+")
FORM = "NAME[:KEY=VALUE,…]"


@dataclass(frozen=True)
class Spec:
    """A name and its arguments, as text; whoever owns the name gives them their types.

    Two specs with the same arguments in another order are equal and have the same text.
    """

    name: str
    args: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.name
        if not _NAME.fullmatch(name):
            raise BadInput(f"'{name}' is no name: write {FORM}, or @PATH without ':', '+', blanks")
        for key, value in self.args.items():
            if not _KEY.fullmatch(key):
                raise BadInput(f"'{key}' in '{name}' is no key: small letters, digits, '-' and '_'")
            if not _VALUE.fullmatch(value):
                raise BadInput(
                    f"'{value}' for '{key}' in '{name}' is no value: letters, digits, '-', '_', '.'"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME[:KEY=VALUE,…]``.

        Raises:
            BadInput: the text is not of that form, or names a key twice.
        """
        name, colon, rest = text.strip().partition(":")
        args: dict[str, str] = {}
        for part in rest.split(",") if colon else ():
            key, equals, value = part.partition("=")
            if not equals:
                raise BadInput(f"'{part}' in '{text}' is not KEY=VALUE: write {FORM}")
            if key in args:
                raise BadInput(f"'{key}' stands twice in '{text}'")
            args[key] = value
        return cls(name, args)

    @property
    def path(self) -> str | None:
        """The path behind ``@``, or None for a name."""
        return self.name[1:] if self.name.startswith("@") else None

    def at_home(self) -> Self:
        """The same wherever it is read: a relative path is of the directory in which one is now."""
        if self.path is None:
            return self
        return type(self)(f"@{Path(self.path).expanduser().resolve()}", self.args)

    def __str__(self) -> str:
        args = ",".join(f"{key}={value}" for key, value in sorted(self.args.items()))
        return f"{self.name}:{args}" if args else self.name

    def __hash__(self) -> int:
        return hash(str(self))
