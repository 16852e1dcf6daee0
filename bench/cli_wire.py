"""``overspray wire``: how fast the wire is by itself."""

from typing import Annotated

import typer

from bench import options


def register(app: typer.Typer) -> None:
    """Add the command ``wire``."""
    app.command("wire")(wire)


def wire(
    case: Annotated[str, typer.Option(help="native, linux, docker or flannel.")] = "flannel",
    seconds: Annotated[float, typer.Option(min=0.05, help="Of each round.")] = 0.5,
    rounds: Annotated[int, typer.Option(min=1, help="6 at least for an interval.")] = 8,
    payload: Annotated[
        int, typer.Option(help="Of a TCP segment, bytes; a datagram has 18.")
    ] = 1448,
    mtu: options.Mtu = 1600,
    nic_core: options.NicCore = 0,
    lab: options.LabName = "osp",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Frames a second from one core into an XDP program on the NIC that drops them."""
    import json

    from bench.bed import Bed, BedSpec
    from bench.fingerprint import fingerprint
    from bench.lab_plan import LabSpec
    from bench.traffic import Traffic
    from bench.wire_rate import measure
    from steering.doctor import require
    from steering.spec import Spec

    LabSpec(case, lab, mtu=mtu)
    placement = options.Cores(nic_core, "", None).placement()
    loads = [(Spec("udp"), 18), (Spec("tcp"), payload), (Spec("tcp", {"timestamps": "0"}), payload)]
    for kind, size in loads:
        Traffic(size, kind=kind)
    require()
    found = []
    with (
        Bed(placement, BedSpec(lab, mtu=mtu)) as bed,
        options.told("wire", len(loads)) as (note, step),
    ):
        for kind, size in loads:
            note(f"{case}, {kind}, {size} B")
            found.append(measure(bed, case, kind, size, seconds, rounds))
            step()
    if as_json:
        rates = [one.as_dict() for one in found]
        typer.echo(json.dumps({"host": fingerprint(), "rates": rates}, indent=1))
        return
    for one in found:
        rate = one.rate
        spread = f"{rate.low / 1e6:.2f} to {rate.high / 1e6:.2f}"
        typer.echo(f"{one.traffic}, {one.payload} B: {rate.median / 1e6:.2f} Mpps ({spread})")
