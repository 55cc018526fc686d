from lepton_ai.cli.printable import printable


def test_what_could_steer_a_terminal_is_made_visible() -> None:
    assert printable("\x1b[31mred\r\x07") == "�[31mred��"
    assert printable("Größe → 1 × 2") == "Größe → 1 × 2"


def test_newlines_stay_where_they_are_meant() -> None:
    assert printable("one\ntwo") == "one�two"
    assert printable("one\ntwo", newlines=True) == "one\ntwo"
