import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ai.plan.advising import predicting
from lepton_ai.plan.advising.facts import Piece
from lepton_ai.plan.advising.predicting import amdahl, gain, where, with_fewer_bits


def piece(operator: str, share: float, intensity: float | None = 50.0) -> Piece:
    return Piece(
        operator=operator,
        share=share,
        nodes=(),
        intensity=intensity,
        removable=False,
        redundant=False,
    )


class OnlyPieces:
    """As much of facts as a prediction over a profile reads."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = pieces


def test_amdahl_is_what_he_said():
    pieces = [piece("Conv", 0.8), piece("Softmax", 0.2)]
    assert amdahl(pieces, {"Conv": 4.0}) == pytest.approx(0.4)
    assert amdahl(pieces, {}) == 1.0
    assert amdahl([], {"Conv": 4.0}) == 1.0


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda shares: sum(shares) > 1e-6),
    st.floats(1, 100),
)
def test_no_prediction_leaves_the_share_that_is_not_sped_up(shares, times):
    pieces = [piece("Conv" if i % 2 else "Add", share) for i, share in enumerate(shares)]
    rest = sum(shares[::2]) / sum(shares)
    for found in (
        amdahl(pieces, {"Conv": times}),
        with_fewer_bits(OnlyPieces(*pieces), {"Conv"}, times, times),
    ):
        assert rest - 1e-9 <= found <= 1 + 1e-9


def test_what_waits_for_memory_gains_what_its_bytes_shrink_by():
    waits, computes = OnlyPieces(piece("Gemm", 1.0, 0.5)), OnlyPieces(piece("Gemm", 1.0, 90.0))
    assert with_fewer_bits(waits, {"Gemm"}, 8.0, 3.0) == pytest.approx(1 / 3)
    assert with_fewer_bits(computes, {"Gemm"}, 8.0, 3.0) == pytest.approx(1 / 8)
    assert "waits for memory" in where(waits, {"Gemm"})
    assert "computes" in where(computes, {"Gemm"})
    assert "no time" in where(waits, {"Conv"})


def test_the_best_instruction_counts():
    isa = ("avx2", "avx512_vnni", "amx_int8")
    assert gain(isa, predicting.INT8_GAINS) == predicting.INT8_GAINS["amx_int8"]
    assert gain(("avx2",), predicting.INT8_GAINS) == predicting.NO_GAIN
