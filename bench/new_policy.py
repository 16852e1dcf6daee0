"""``overspray policy new``: a folder with both halves of a policy, to be changed into one's own."""

import re
from pathlib import Path

import steering
from steering.errors import BadInput
from steering.registry import names
from steering.stock import STEERING

TEMPLATE = Path(steering.__file__).parent / "template"
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_SPECIAL = re.compile(r"[:+\s]")  # they separate the parts of a variant


def write(name: str, folder: Path) -> Path:
    """The new policy's folder.

    Raises:
        BadInput: a name that is none, or taken, or that a folder has already; nothing is written.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"'{name}' is no name for a policy: small letters, digits and '-'")
    if name in (*names(), *STEERING, "stock-best"):
        raise BadInput(f"'{name}' is taken, see 'overspray policy list': choose another name")
    target = folder.expanduser() / name
    if _SPECIAL.search(str(target.resolve())):
        raise BadInput(f"'{target}' could not be named: choose a --folder without ':', '+', blanks")
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        raise BadInput(f"'{target}' is there already: choose another name or --folder") from None
    except OSError as error:
        raise BadInput(f"'{target}' cannot be made: {error.strerror}: choose a --folder") from None
    for file in ("policy.h", "policy.py"):
        text = (TEMPLATE / file).read_text()
        (target / file).write_text(re.sub(r"\bNAME\b", name, text))
    return target
