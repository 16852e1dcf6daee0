"""Experiment files: what they expand to, and one line for whatever is wrong in them."""

from pathlib import Path

import pytest

import bench
from bench.experiment import Experiment, Placement, load, parse
from bench.variant import Variant
from steering.errors import BadInput

SHIPPED = sorted(Path(bench.__file__).parent.glob("experiments/**/*.toml"))

MINIMAL = """
name = "tiny"
title = "Tiny"
question = "Does it load?"
{top}
{baselines}
[[groups]]
cases = ["native", "docker"]
variants = ["none", "none+gro-list"]
{end}
"""


def text(top: str = "", end: str = "", baselines: str = 'baselines = ["none"]') -> str:
    return MINIMAL.format(top=top, end=end, baselines=baselines)


def test_defaults_make_one_point() -> None:
    experiment = parse(text(), "tiny.toml")
    (point,) = experiment.points()
    assert point.id == "udp, 18 B, 1 flow, best, constant, count"
    assert [str(variant) for variant in point.variants] == [
        "native/none",
        "native/none+gro-list",
        "docker/none",
        "docker/none+gro-list",
    ]
    assert experiment.runs() == 40


def test_the_matrix_is_a_product() -> None:
    experiment = parse(
        text(
            top="rounds = 3\nseconds = 2.0\nwarmup = 1.0",
            end='[matrix]\npayload = [18, 1400]\nflows = [1, 80]\nrate = [200000, "max"]\n'
            'arrivals = ["constant:batch=64", "poisson"]\nsink = ["count", "read:core=1"]',
        ),
        "tiny.toml",
    )
    points = experiment.points()
    assert len({point.id for point in points}) == len(points) == 32
    assert "udp, 1400 B, 80 flows, 200000 pps, poisson, read:core=1" in {p.id for p in points}
    assert experiment.runs() == 3 * 4 * 32
    # No offered load has to be found: 3 s and the overhead a run.
    assert experiment.estimate(overhead=0.5) == pytest.approx(experiment.runs() * 3.5)


def test_rounds_are_shuffled_and_repeatable() -> None:
    experiment = parse(text(), "tiny.toml")
    (point,) = experiment.points()
    orders = [tuple(map(str, experiment.order(point, n))) for n in range(20)]
    assert len(set(orders)) > 5
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    again = parse(text(), "tiny.toml")
    assert [tuple(map(str, again.order(point, n))) for n in range(20)] == orders
    other = parse(text(top="seed = 7"), "tiny.toml")
    assert [tuple(map(str, other.order(point, n))) for n in range(20)] != orders
    assert (
        experiment.run_seed(point, 1) == again.run_seed(point, 1) != experiment.run_seed(point, 2)
    )


def test_a_baseline_without_a_case_is_that_of_each_case() -> None:
    experiment = parse(text(baselines='baselines = ["none", "native/none"]'), "tiny.toml")
    variant = Variant.parse("docker/none+gro-list")
    assert str(experiment.baseline_of(variant, "none")) == "docker/none"
    assert str(experiment.baseline_of(variant, "native/none")) == "native/none"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(top="round = 3"), "unknown key 'round': choose from baselines,"),
        (text(end="[matrix]\nsize = [1]"), "unknown key 'matrix.size': choose from arrivals,"),
        (
            text(end="[limits]\nlos = 0"),
            "unknown key 'limits.los': choose from loss, margin, other, steal",
        ),
        (text(end="[placement]\ncpu = 0"), "unknown key 'placement.cpu': choose from app, nic, w"),
        (text(end="seconds = 1"), "unknown key 'groups.0.seconds': choose from cases, variants"),
        (text(baselines=""), "key 'baselines' is missing"),
        (text(baselines='baselines = ["rps"]'), "baseline 'rps' is none of the variants"),
        (text(baselines='baselines = ["x/y"]'), "is no name"),
        (text(top='plots = ["pie"]'), "plots.0: Input should be 'throughput'"),
        (text(top='rounds = "many"'), "rounds: Input should be a valid integer"),
        (text(top="rounds = 0"), "rounds: Input should be greater than or equal to 1 (not 0)"),
        (text(end='[matrix]\nrate = ["fast"]'), "rate.0: choose packets a second or one of max,"),
        (text(end="[matrix]\nrate = [0]"), "matrix.rate.0: choose packets a second"),
        (text(end="[matrix]\npayload = []"), "matrix.payload: Tuple should have at least 1"),
        (text(end="[matrix]\npayload = [18, 18]"), "matrix: '18' stands twice"),
        (text(end="[matrix]\npayload = [17]"), "greater than or equal to 18 (not 17)"),
        (
            text(end='[matrix]\narrivals = ["even"]'),
            "matrix.arrivals.0: unknown arrivals 'even': choose",
        ),
        (
            text(end='[matrix]\narrivals = ["poisson:batch=0"]'),
            "arrivals.0: batch=0 is out of range: 1 to 256",
        ),
        (text(end='[matrix]\nsink = ["co:unt"]'), "matrix.sink.0: 'unt' in 'co:unt' is not KEY=V"),
        (text(end='[[groups]]\ncases = ["docker"]\nvariants = ["none"]'), "stands twice"),
        (
            text(end='[[groups]]\ncases = ["podman"]\nvariants = ["none"]'),
            "groups.1.cases.0: Input",
        ),
        (
            text(end='[[groups]]\ncases = ["native"]\nvariants = ["pin"]'),
            "'native/pin': our steering",
        ),
        (
            text(end='[[groups]]\ncases = ["linux"]\nvariants = ["pin+"]'),
            "groups.1: 'linux/pin+' is",
        ),
        (text(top="rounds = ["), "not TOML"),
    ],
)
def test_bad_input_is_one_line(content: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(content, "tiny.toml")
    assert str(error.value).startswith("tiny.toml: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"can't read experiment .*: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not text"):
        load(tmp_path / "binary.toml")


def test_placement_on_a_host() -> None:
    assert Placement().on([0, 1]) == Placement(nic=0, workers=(1,), app=1)
    assert Placement(nic=2, app=0).on(range(4)) == Placement(nic=2, workers=(0, 1, 3), app=0)
    with pytest.raises(BadInput, match="core 7 does not exist: choose from 0, 1"):
        Placement(workers=(1, 7)).on([0, 1])
    with pytest.raises(BadInput, match="only one"):
        Placement().on([0])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_experiments_load(path: Path) -> None:
    experiment = load(path)
    assert experiment.name == path.stem
    assert experiment.points()


def test_the_demo_takes_minutes_and_covers_the_issue() -> None:
    (path,) = [path for path in SHIPPED if path.stem == "single_flow"]
    experiment: Experiment = load(path)
    assert experiment.estimate() < 6 * 60  # and the sweeps for stock-best come on top
    assert experiment.rounds >= 6
    variants = set(map(str, experiment.variants()))
    assert {variant.split("/")[0] for variant in variants} == {
        "native",
        "linux",
        "docker",
        "flannel",
    }
    docker = {variant.split("/")[1].split(":")[0] for variant in variants if "docker/" in variant}
    assert docker >= {"none", "rss", "rps", "rps-vxlan", "rps-veth", "stock-best"}
    assert docker >= {"local", "pin", "roundrobin", "flowcell", "backlog", "backlog+gro-list"}
