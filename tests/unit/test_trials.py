"""What the trials send is what a library would make of it."""

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from steering.trials import datagram


def test_the_datagram_of_the_trials() -> None:
    link = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    ip = IP(src="198.18.0.1", dst="198.18.0.2", flags="DF", id=0)
    made = bytes(link / ip / UDP(sport=9, dport=9) / bytes(len(datagram()) - 42))
    assert datagram() == made
