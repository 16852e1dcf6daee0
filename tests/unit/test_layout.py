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
    assert config.fields["pid_device"][1] % 8 == 0


def test_every_counter_has_a_name_and_words_for_people() -> None:
    assert counter_names("wire_counter") == ["sent", "drop_ring", "drop_refused"]
    assert counter_names("drop_counter") == ["seen"]
    assert all([*counter_words("wire_counter").values(), *counter_words("drop_counter").values()])
