"""What runs in the kernel: BPF C sources, found by `xdp.SOURCES` and `xdp.INCLUDE`."""

from pathlib import Path

SOURCES = Path(__file__).resolve().parent
INCLUDE = SOURCES / "include"
