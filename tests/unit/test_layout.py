"""C structs and enums, read from the headers that the programs include."""

from bench.traffic import SMALLEST
from steering.layout import counter_names, counter_words, header


def test_the_stamp_is_packed_into_the_smallest_payload() -> None:
    stamp = header("stamp.h").struct("stamp")
    assert stamp.itemsize == SMALLEST == 18
    assert {name: stamp.fields[name][1] for name in stamp.names} == {
        "run": 0,
        "flow": 4,
        "sequence": 6,
        "intended": 10,
    }


def test_structs_have_the_compilers_padding() -> None:
    config = header("wire.h").struct("wire_config")
    assert config.fields["header"][0].shape == (header("wire.h").constants["WIRE_WORDS"],)
    assert config.itemsize % 8 == 0
    assert config.fields["header"][1] % 8 == 0


def test_every_counter_has_a_name_and_words_for_people() -> None:
    assert counter_names("wire_counter") == ["sent", "idle", "drop_ring", "drop_refused"]
    for enum in ("wire", "seen", "steer", "deliver", "peer", "sink", "observe"):
        words = counter_words(f"{enum}_counter")
        assert [*words] == counter_names(f"{enum}_counter")
        assert words and all(words.values()), enum


def test_the_key_of_a_path_has_no_padding() -> None:
    key = header("maps.h").struct("path_key")
    assert key.itemsize == sum(key.fields[name][0].itemsize for name in key.names) == 44


def test_the_two_ends_of_a_workers_queue_are_cache_lines_apart() -> None:
    worker = header("policy.h").struct("worker")
    assert (worker.itemsize, worker.fields["done"][1]) == (128, 64)
    assert header("policy.h").struct("workers").fields["worker"][1] % 64 == 0
