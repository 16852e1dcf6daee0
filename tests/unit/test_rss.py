"""Which queue a network card would choose."""

import pytest

from bench.lab_plan import Plan
from bench.rss import cores_of_flows, hash_of


@pytest.mark.parametrize(
    ("source", "destination", "ports", "without", "with_ports"),
    [
        # Microsoft's verification suite.
        ("66.9.149.187", "161.142.100.80", (2794, 1766), 0x323E8FC2, 0x51CCC178),
        ("199.92.111.2", "65.69.140.83", (14230, 4739), 0xD718262A, 0xC626B0EA),
        ("24.19.198.95", "12.22.207.184", (12898, 38024), 0xD2D0A5DE, 0x5C2B394A),
        ("38.27.205.30", "209.142.163.6", (48228, 2217), 0x82989176, 0xAFC7327F),
        ("153.39.163.191", "202.188.127.2", (44251, 1303), 0x5D1809C5, 0x10E828A2),
        (
            "3ffe:2501:200:1fff::7",
            "3ffe:2501:200:3::1",
            (2794, 1766),
            0x2CC18CD5,
            0x40207D3D,
        ),
    ],
)
def test_the_hash_is_the_specifications(
    source: str, destination: str, ports: tuple[int, int], without: int, with_ports: int
) -> None:
    assert hash_of(source, destination) == without
    assert hash_of(source, destination, ports) == with_ports


@pytest.mark.parametrize("plan", [Plan(), Plan("flannel", outer=6)])
def test_ports_spread_flows_and_addresses_alone_do_not(plan: Plan) -> None:
    assert len(set(cores_of_flows(plan, 64, [1, 4, 5], with_ports=False))) == 1
    spread = cores_of_flows(plan, 300, [1, 4, 5], with_ports=True)
    assert {*spread} == {1, 4, 5}
    assert min(map(spread.count, (1, 4, 5))) > 50
    assert cores_of_flows(plan, 2, [3], with_ports=True) == [3, 3]
