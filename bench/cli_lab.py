"""``overspray lab up|show|down``: the namespaces in which everything is measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.lab import Lab, Progress

_Name = Annotated[str, typer.Option("--name", help="Name of the lab.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add ``lab`` with its three sub-commands."""
    group = typer.Typer(help="Make, show and remove the lab's namespaces.", no_args_is_help=True)
    group.command("up")(up)
    group.command("show")(show)
    group.command("down")(down)
    app.add_typer(group, name="lab")


def up(
    case: Annotated[
        str, typer.Option("--case", help="native, linux, docker or flannel.")
    ] = "docker",
    name: _Name = "osp",
    containers: Annotated[int, typer.Option(help="How many containers, 1 to 80.")] = 1,
    queues: Annotated[
        int | None, typer.Option(help="Queues of each veth; one for each core if left out.")
    ] = None,
    mtu: Annotated[int, typer.Option(help="MTU of the wire, in bytes.")] = 1500,
    outer: Annotated[int, typer.Option(help="IP version outside: 4 or 6.")] = 4,
    inner: Annotated[int, typer.Option(help="IP version inside: 4 or 6.")] = 4,
    vni: Annotated[int, typer.Option(help="Number of the virtual network.")] = 42,
    as_json: _Json = False,
) -> None:
    """Make a lab ready. One that is up with the same settings is left as it is."""
    from bench import lab as labs
    from steering.undo import recover

    spec = labs.LabSpec(case, name, containers, queues, mtu, outer, inner, vni)
    recover()
    with _progress() as progress:
        lab = labs.up(spec, progress)
    if as_json:
        _print_json(lab.as_dict())
    else:
        _print_lab(lab, whole=True)


def show(
    name: Annotated[str | None, typer.Option("--name", help="Only labs of this name.")] = None,
    as_json: _Json = False,
) -> None:
    """Show the labs that are up, and which are half-made or damaged."""
    from bench import lab as labs

    found = labs.show(name)
    if as_json:
        _print_json([{**lab.as_dict(), "whole": whole} for lab, whole in found])
        return
    for lab, whole in found:
        _print_lab(lab, whole)
    if not found:
        print("no lab is up: type 'overspray lab up'")


def down(
    name: _Name = "osp",
    case: Annotated[
        str | None, typer.Option("--case", help="Only this case; all if left out.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Remove a lab, whole or half-made. Nothing that the lab did not make is touched."""
    from bench import lab as labs
    from steering.undo import recover

    recover()
    gone = labs.down(name, case)
    if as_json:
        _print_json({"removed": gone})
    else:
        print(f"removed {len(gone)} namespaces" if gone else f"no lab '{name}' was up")


def _print_lab(lab: "Lab", whole: bool) -> None:
    spec = lab.spec
    state = "up" if whole else "half-made or damaged: type 'overspray lab up' or 'lab down'"
    print(f"lab {spec.name}, case {spec.case}: {state}")
    print(
        f"  MTU {spec.mtu} outside, {spec.inner_mtu} inside; {spec.queue_count} queues; "
        f"IPv{spec.underlay} outside, IPv{spec.inner} inside"
        + (f"; VNI {spec.vni}, port {lab.port}" if lab.tunnel_ns else "")
    )
    rows = [("wire", lab.wire_ns, lab.wire, lab.remote_vtep_ip)]
    rows.append(("NIC", lab.host_ns, lab.nic, lab.vtep_ip))
    if lab.tunnel_ns:
        rows.append(("tunnel", lab.tunnel_ns, lab.tunnel, ""))
    rows += [("endpoint", end.netns, end.device, end.ip) for end in lab.endpoints]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False))
        print(f"  {line}  {row[3]}".rstrip())


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on stderr while the namespaces are made; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("lab")
        yield lambda name, done, total: bar.update(
            task, description=name, completed=done, total=total
        )
