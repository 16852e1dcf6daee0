"""``overspray lab up|show|down``: the namespaces in which everything is measured."""

from typing import Annotated

import typer

from bench.lab_plan import Plan
from bench.options import Ip, Mtu, OuterIp

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add ``lab`` with its three sub-commands."""
    group = typer.Typer(help="Make, show and remove the lab's namespaces.", no_args_is_help=True)
    group.command("up")(up)
    group.command("show")(show)
    group.command("down")(down)
    app.add_typer(group, name="lab")


def up(
    case: Annotated[str, typer.Option(help="Receive path: native, linux, flannel or docker.")] = "native",
    containers: Annotated[int, typer.Option(help="Containers behind the tunnel, 1 to 80.")] = 1,
    mtu: Mtu = Plan.inner_mtu,
    ip: Ip = 4,
    outer_ip: OuterIp = 4,
    as_json: _Json = False,
) -> None:
    """Make a lab that stays, to look around in; commands that measure make labs of their own."""
    from bench import lab as labs

    made = labs.up(case, containers, mtu, ip, outer_ip)
    if as_json:
        _print_json(made.as_dict())
        return
    plan = made.plan
    print(f"lab up, case {made.case}:")
    print(f"  {made.wire_ns}  {plan.wire}  {plan.wire_ip}  {plan.wire_mac}")
    print(f"  {made.host_ns}  {plan.nic}   {plan.nic_ip}  {plan.nic_mac}")
    if plan.has_tunnel and not plan.has_containers:
        print(f"  {made.host_ns}  {plan.tunnel}   {plan.host_ip}  {plan.tunnel_mac}")
    for each in plan.containers:
        print(f"  {made.names[each.role]}  eth0   {each.ip}  {each.mac}")
    print(f"look around with 'ip netns exec {made.host_ns} bash'")


def show(as_json: _Json = False) -> None:
    """Show every lab's namespaces: up, in use by a run, or left over by a killed one."""
    from dataclasses import asdict

    from bench import lab as labs

    found = labs.show()
    if as_json:
        _print_json([asdict(each) for each in found])
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        owner = f" of process {each.owner}" if each.owner else ""
        inside = f"; inside: process {', '.join(map(str, each.processes))}" if each.processes else ""
        print(f"{each.name:{width}}  {each.state}{owner}{inside}")
    if any(each.state == "unknown" for each in found):
        print("unknown: made in another pid namespace; if that has ended, type 'ip netns del NAME'")
    if not found:
        print("no lab is up: type 'overspray lab up'")


def down(as_json: _Json = False) -> None:
    """Remove the lab that is up and what killed runs left over; nothing else is touched."""
    from bench import lab as labs

    gone = labs.down()
    if as_json:
        _print_json({"removed": gone})
    else:
        print(f"removed {', '.join(gone)}" if gone else "no lab was up")


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))
