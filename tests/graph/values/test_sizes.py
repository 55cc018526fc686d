import pytest

from lepton_ai.graph.values.sizes import minus, named, plus, product, quotient, same, symbol, times

N, M = symbol("n"), symbol("m")


def test_sizes_are_equal_as_polynomials_whichever_way_they_came_about():
    assert plus(N, N) == times(2, N) == named("2*n")
    assert times(N, plus(M, 1)) == plus(times(M, N), N) == named("n*m + n")
    assert minus(plus(N, 3), N) == 3
    assert minus(N, N) == 0


def test_names_that_are_not_sums_or_products_stand_for_themselves():
    assert named("past-tokens") == symbol("past - tokens")
    assert named("past-tokens") != minus(symbol("past"), symbol("tokens"))
    assert named("Min(512, tokens)") == symbol("Min(512, tokens)")
    assert named("a b c") == symbol("a b c")
    assert named("7") == 7


@pytest.mark.parametrize(
    ("whole", "parts", "size"),
    [
        ([N, 12, 4], [N, 8], 6),
        ([named("64*n"), 49, 96], [8, 8, 7, 7, 96], N),
        ([N, M], [M], N),
        ([named("6*n*m")], [named("2*n")], times(3, M)),
        ([N, 5], [3], None),
        ([N], [M], None),
        ([N, M], [named("n + 1")], None),
        ([6], [0], None),
    ],
)
def test_quotients_are_exact_or_none(whole, parts, size):
    assert quotient(whole, parts) == size


def test_what_is_not_known_equals_nothing():
    assert same((N, 3), (named("n"), 3))
    assert not same((N, None), (N, None))
    assert not same(None, None)


def test_sizes_are_written_as_people_do():
    assert str(product([N, 64])) == "64*n"
    assert str(plus(N, 1)) == "1 + n"
