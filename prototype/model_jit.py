"""How the model's functions are compiled: all into one, the engine's loop.

A call would pass a run's arrays as some two hundred values, and their reference counts would be
atomic: each took more time than the model. No array dies during a run, so none is counted.
"""

from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}

inlined: Any = njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)
