"""Knobs: what a person may write, and what is said about the rest."""

import pytest

from steering.errors import BadInput
from steering.knobs import Knob, read_knobs

KNOBS = {
    "cells": Knob(64, 1, 4096, "packets", "how long a cell is"),
    "idle": Knob(0, 0, 100, "us", "how long a flow rests"),
}


def test_what_is_not_written_has_its_default() -> None:
    assert read_knobs("policy 'x'", KNOBS, {}) == {"cells": 64, "idle": 0}
    assert read_knobs("policy 'x'", KNOBS, {"cells": "0x10"}) == {"cells": 16, "idle": 0}
    assert read_knobs("policy 'x'", KNOBS, {"cells": "4096", "idle": "0"}) == {"cells": 4096, "idle": 0}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"cells": "4097"}, "cells=4097 is out of range: choose from 1 to 4096 packets"),
        ({"cells": "-1"}, "cells=-1 is out of range"),
        ({"idle": "soon"}, "idle=soon: a number in us is wanted: choose from 0 to 100"),
        ({"cell": "1"}, "unknown knob of policy 'x' 'cell': choose from cells, idle"),
    ],
)
def test_the_rest_is_refused(args: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_knobs("policy 'x'", KNOBS, args)


def test_where_there_are_no_knobs_it_says_so() -> None:
    with pytest.raises(BadInput, match="unknown knob of 'gro' 'cells': choose from none"):
        read_knobs("'gro'", {}, {"cells": "1"})
