"""Made-up runs for tests, with the shape of real ones."""

from typing import Any

from bench.sample import Sample


def sample(**changes: Any) -> Sample:
    """A good run of a second; name what should differ."""
    fields: dict[str, Any] = {
        "point": "udp, 18 B, 1 flow, best, constant, count",
        "round": 0,
        "position": 0,
        "variant": "docker/none",
        "seed": 1,
        "started": 1.7e9,
        "seconds": 1.0,
        "settings": {"rx-gro-list": "off"},
        "offered": 1000,
        "delivered": 900,
        "delivered_bytes": 900 * 18,
        "drops": {"backlog": {"netdev_max_backlog": 100}},
        "order": {"reordered": 0.0, "extent_p99": 0},
        "latency": {"p50": 4000.0, "p99": 5000.0, "p99.9": 9000.0},
        "cores": {0: {"wire": 0.2, "softirq": 0.7}, 1: {"softirq": 0.5}},
        "per_packet": {"softirqs": 1.0},
        "gathered": {"poll": 16.0},
        "wire_share": 0.2,
    }
    return Sample.model_validate(fields | changes)
