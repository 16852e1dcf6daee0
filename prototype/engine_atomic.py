"""What numba lacks for threads that share memory: loads and stores in order, a counter, a rest.

All work on 1-d arrays of 64-bit integers, and only in compiled code.
"""

# numba has no types for its decorators.
# mypy: disable-error-code="untyped-decorator"

from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_yield = types.ExternalFunction("sched_yield", types.int32())
_sleep = types.ExternalFunction("usleep", types.int32(types.uint32))
_SPINS, _SHORTEST, _DOUBLINGS = 32, 50, 5


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return cgutils.get_item_pointer(
        context, builder, signature.args[0], array, [args[1]], wraparound=False
    )


@intrinsic
def load(_typing: Any, array: Any, index: Any) -> Any:
    """``array[index]``; what follows sees all that its writer did before (acquire)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, args), "acquire", 8)

    return array.dtype(array, index), generate


@intrinsic
def store(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """``array[index] = value``, seen only after all that was done before (release)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
        place = _place(context, builder, signature, args)
        builder.store_atomic(value, place, "release", 8)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def add(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Add to ``array[index]``; returns what it was before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
        place = _place(context, builder, signature, args)
        return builder.atomic_rmw("add", place, value, "acq_rel")

    return array.dtype(array, index, value), generate


@njit(nogil=True, cache=True)
def rest(times: int) -> int:
    """Let others run, after ``times`` rests in a row: yield at first, then sleep 50 us to 1.6 ms.

    Returns ``times + 1``.
    """
    if times < _SPINS:
        _yield()
    else:
        _sleep(_SHORTEST << min(times - _SPINS, _DOUBLINGS))
    return times + 1
