import pytest

from lepton_ai.report import quantities


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, "0"), (3.14159, "3.14"), (0.0012345, "0.00123"), (12345.6, "12,346"), (99.96, "100.0")],
)
def test_significant_digits_without_an_exponent(value: float, wanted: str) -> None:
    assert quantities.significant(value) == wanted


def test_what_was_not_measured_is_a_dash() -> None:
    for show in (
        quantities.milliseconds,
        quantities.megabytes,
        quantities.amount,
        quantities.limit,
        quantities.times,
        quantities.count,
    ):
        assert show(None) == "–"


def test_a_bound_never_claims_more_than_was_shown() -> None:
    assert quantities.limit(0.00451) == "0.0046"
    assert quantities.limit(0.0045) == "0.0045"
    assert quantities.limit(-0.00451) == "−0.0045"


def test_text_is_safe_in_an_element_and_in_an_attribute() -> None:
    assert quantities.shown("<a href='x\">&") == "&lt;a href=&#x27;x&quot;&gt;&amp;"
