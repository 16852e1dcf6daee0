"""``overspray status|swap|set|detach``: ask and change what is attached."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from steering.control import Address

_Device = Annotated[str, typer.Argument(help="A NIC that is attached.")]
_Netns = Annotated[
    str | None,
    typer.Option("--netns", help="Its network namespace, where several have such a device."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the four commands."""
    app.command()(status)
    app.command()(swap)
    app.command("set")(set_knobs)
    app.command()(detach)


def status(
    device: Annotated[str | None, typer.Argument(help="Only this NIC.")] = None,
    ns: _Netns = None,
    as_json: _Json = False,
) -> None:
    """Show what is attached: policy, workers, what is served and skipped, every counter.

    Also puts back what killed controllers have left changed, and says so.
    """
    from steering import control
    from steering.errors import BadInput
    from steering.status_text import counts, overview

    dead = _recovered("status")
    wanted = control.listed()
    if device is not None:
        dead = [each for each in dead if each.device == device]
        wanted = [control.find(device, control.read_namespace(ns))] if wanted or not dead else []
    elif ns is not None:
        raise BadInput("--netns without a device: name the device too")
    found = {each: facts for each in wanted if (facts := _ask_status(each)) is not None}
    if as_json:
        gone = [each.as_dict() for each in dead]
        _print_json({"controllers": list(found.values()), "dead": gone})
        return
    for each in dead:
        print(f"{each}: its controller was killed; what it had changed is put back")
    for each, facts in found.items():
        for line in (*overview(str(each), facts), *(counts(facts) if facts["attached"] else ())):
            print(line)
    if not found and not dead:
        print("nothing is attached")


def swap(
    device: _Device,
    policy: Annotated[str, typer.Argument(help="NAME[:KNOB=VALUE,…].")],
    ns: _Netns = None,
    as_json: _Json = False,
) -> None:
    """Put another policy in place; no packet is lost, and the old one stays if it does not fit."""
    from steering import control

    _recovered("a swap")
    text = str(control.read_policy(policy))
    address = control.find(device, control.read_namespace(ns))
    _print_plan(address, control.ask(address, {"do": "swap", "policy": text}, None), as_json)


def set_knobs(
    device: _Device,
    knobs: Annotated[list[str], typer.Argument(metavar="KNOB=VALUE…", help="New values.")],
    ns: _Netns = None,
    as_json: _Json = False,
) -> None:
    """Change knobs of the policy that is attached, while packets flow."""
    from steering import control
    from steering.spec import Spec

    _recovered("changing knobs")
    values = Spec.parse("knobs:" + ",".join(knobs)).args
    address = control.find(device, control.read_namespace(ns))
    _print_plan(address, control.ask(address, {"do": "set", "knobs": values}, None), as_json)


def detach(
    device: Annotated[str | None, typer.Argument(help="The NIC.")] = None,
    ns: _Netns = None,
    all_: Annotated[bool, typer.Option("--all", help="Detach everything.")] = False,
    as_json: _Json = False,
) -> None:
    """Detach, and put back what was changed; returns when that is done."""
    from steering import control
    from steering.errors import BadInput

    if (device is None) is not all_ or (all_ and ns is not None):
        raise BadInput("detach what? name one device, or type --all")
    dead = _recovered("detaching")
    if device is None:
        wanted = control.listed()
    else:
        dead = [each for each in dead if each.device == device]
        wanted = [] if dead else [control.find(device, control.read_namespace(ns))]
    for address in wanted:
        control.ask(address, {"do": "detach"}, None)
    gone = [*dead, *wanted]
    if as_json:
        _print_json({"detached": [each.as_dict() for each in gone]})
        return
    for address in gone:
        print(f"{address}: detached")
    if not gone:
        print("nothing is attached")


def _recovered(what: str) -> "list[Address]":
    """Put back what the dead have left; the NICs that they had."""
    from steering.control import sweep
    from steering.preflight import require_state
    from steering.undo import recover

    require_state(what)
    dead = sweep()
    recover()
    return dead


def _ask_status(address: "Address") -> dict[str, Any] | None:
    """None where it has ended since it was listed."""
    from steering.control import Dead, ask

    try:
        facts: dict[str, Any] = ask(address, {"do": "status"})
    except Dead:
        return None
    return facts


def _print_plan(address: "Address", facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
        return
    print(f"{address}: {facts['policy']}")


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))
