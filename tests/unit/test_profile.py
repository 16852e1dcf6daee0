"""Stacks folded into stages."""

from bench.profile import stage
from bench.symbols import Symbols


def test_a_sample_is_of_the_innermost_function_that_has_a_stage() -> None:
    assert stage(["memcpy", "udp4_gro_receive", "dev_gro_receive", "veth_xdp_rcv_one", "veth_poll"]) == "GRO"
    assert stage(["bpf_prog_b999d496b8063d57_steer", "veth_xdp_rcv_one"]) == "NIC stage"
    assert stage(["bpf_prog_33d9c121371d2dd7_deliver", "cpu_map_bpf_prog_run_xdp"]) == "worker's frames"
    assert stage(["page_pool_put_unrefed_netmem", "skb_free_head", "skb_release_data"]) == "free"
    assert stage(["unheard_of"]) == "other"
    assert stage([]) == "other"


def test_symbols_are_found_by_where_they_start() -> None:
    symbols = Symbols("ffffffff81000010 T second\nffffffff81000000 t first [module]\n")
    places = (0, 0xFFFFFFFF80FFFFFF, 0xFFFFFFFF81000000, 0xFFFFFFFF8100000F, 0xFFFFFFFF81000020)
    assert [symbols.of(place) for place in places] == ["?", "?", "first", "first", "second"]
