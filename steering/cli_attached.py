"""``overspray status``, ``swap``, ``set`` and ``detach``: what runs already, from any terminal."""

import json
from typing import Annotated, Any

import typer

from steering.errors import BadInput, OversprayError

_Device = Annotated[
    str,
    typer.Argument(metavar="[DEVICE]", help="The NIC; may be left out where one alone is attached to."),
]
_On = Annotated[str, typer.Option("--on", metavar="DEVICE", help="The NIC, where several are attached to.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the four."""
    app.command()(status)
    app.command()(swap)
    app.command("set")(set_knobs)
    app.command()(detach)


def status(
    device: Annotated[str, typer.Argument(metavar="[DEVICE]", help="That NIC alone; else all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show what is attached: to what, with which policy, and what each core has had.

    Puts right what a killed process may have left. Exit code 1 where one that is attached does not answer.
    """
    from steering import attached, control
    from steering.status import status_text

    attached.put_right()
    there, found = [attached.choose(device)] if device else attached.holders(), []
    for holder in there:
        try:
            found.append(control.ask(holder.pid, {"ask": "status"}))
        except OversprayError as error:
            if device:
                raise
            typer.echo(f"{holder}: {error}", err=True)  # and the others are shown
    if as_json:
        print(json.dumps(found, indent=2))
    elif not there:
        print("nothing is attached: type 'overspray attach DEVICE'")
    for each in [] if as_json else found:
        print("\n".join(status_text(each)))
    if len(found) < len(there):
        raise typer.Exit(1)


def swap(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="[@]NAME[:KNOB=VALUE,…][+COALESCING…]")],
    on: _On = "",
    as_json: _Json = False,
) -> None:
    """Put another policy in place, between two frames and without losing one. The workers stay.

    Without +COALESCING the NIC does again as it was found.
    """
    from steering.choice import Choice

    _done(_ask(on, {"ask": "swap", "policy": str(Choice.parse(policy))}), as_json)


def set_knobs(
    knobs: Annotated[list[str], typer.Argument(metavar="KNOB=VALUE…", help="Of the policy that is there.")],
    on: _On = "",
    as_json: _Json = False,
) -> None:
    """Turn knobs of the policy that is attached, while packets flow."""
    from steering.spec import Spec

    for each in knobs:
        if "=" not in each:
            raise BadInput(f"'{each}' is not KNOB=VALUE: 'overspray status' shows the policy and its knobs")
    args = Spec.parse(f"set:{','.join(knobs)}").args
    _done(_ask(on, {"ask": "set", "knobs": dict(args)}), as_json)


def detach(device: _Device = "", as_json: _Json = False) -> None:
    """Let the stock path take over, leave the host as it was found, and print what was counted."""
    from steering import attached
    from steering.status import totals_text

    attached.put_right()
    counted = _ask(device, {"ask": "detach"})
    if as_json:
        print(json.dumps(counted, indent=2))
    else:
        print("\n".join(totals_text(counted)))


def _ask(device: str, words: dict[str, Any]) -> dict[str, Any]:
    from steering import attached, control

    return control.ask(attached.choose(device).pid, words)


def _done(answer: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(answer, indent=2) if as_json else f"swapped {answer['before']} for {answer['policy']}")
