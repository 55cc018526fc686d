import numpy as np

from lepton_ai.compress.slimming.allocation import (
    LANES,
    LEAST_WIDTH,
    Allocation,
    Removable,
    Width,
)

#: Milliseconds at all, three quarters, half and a quarter of the widths.
EVEN = [4.0, 3.0, 2.0, 1.0]
STUBBORN = [4.0, 4.0, 4.0, 4.0]


def width(size: int, energy: float, *nodes: str, first: int = 0) -> Width:
    return Width(
        components=np.arange(first, first + size),
        energy=np.full(size, energy),
        nodes=nodes,
    )


def test_what_costs_least_per_millisecond_goes_first():
    dear = width(64, 1.0, "a")
    cheap = width(64, 0.01, "b", first=64)
    choice = Allocation([dear, cheap], [], {"a": EVEN, "b": EVEN}).choose(6.0)
    assert choice.components
    assert min(choice.components) >= 64
    assert choice.milliseconds <= 6.0


def test_what_brings_no_time_is_left_alone():
    allocation = Allocation([width(64, 0.0, "a")], [], {"a": STUBBORN})
    assert allocation.choose(1.0).components == ()


def test_those_that_matter_least_go_and_whole_lanes_are_left():
    choice = Allocation([width(70, 1.0, "a")], [], {"a": EVEN}).choose(2.0)
    assert choice.components == tuple(range(len(choice.components)))
    assert (70 - len(choice.components)) % LANES == 0


def test_a_width_never_ends():
    choice = Allocation([width(64, 0.0, "a")], [], {"a": EVEN}).choose(0.0)
    assert 64 - len(choice.components) >= LEAST_WIDTH


def test_heads_go_one_at_a_time():
    assert width(12, 1.0, "a").steps() == list(range(1, 11))


def test_a_block_goes_whole_where_that_is_cheaper():
    block = Removable(name="add", nodes=("a", "b"), energy=0.1)
    curves = {"a": EVEN, "b": EVEN, "c": EVEN}
    choice = Allocation([width(64, 1.0, "c")], [block], curves).choose(5.0)
    assert choice.blocks == ("add",)
    assert choice.components == ()
    assert choice.milliseconds == 4.0


def test_two_widths_of_one_node_save_by_the_share_of_its_products():
    both = [width(64, 0.0, "a"), width(64, 0.0, "a", first=64)]
    quadratic = [16.0, 9.0, 4.0, 1.0]
    choice = Allocation(both, [], {"a": quadratic}).choose(4.0)
    kept = [64 - sum(1 for one in choice.components if low <= one < low + 64) for low in (0, 64)]
    share = np.sqrt(kept[0] * kept[1]) / 64
    assert abs(share - 0.5) < 0.13
