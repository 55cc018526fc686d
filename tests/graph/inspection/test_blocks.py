from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_ai.graph.inspection.blocks import MOST_BOXES, Path, block_paths


def chain(count: int) -> list[list[int]]:
    return [[node - 1] if node else [] for node in range(count)]


def named(producers: Sequence[Sequence[int]], *names: str) -> list[Path]:
    scopes = [tuple(name.split("/")) if name else () for name in names]
    return block_paths(producers, scopes, [False] * len(scopes))


def unnamed(producers: Sequence[Sequence[int]]) -> list[Path]:
    return block_paths(producers, [()] * len(producers), [False] * len(producers))


def residual(blocks: int) -> list[list[int]]:
    """Blocks of five nodes, the last of which adds what came into the block."""
    producers: list[list[int]] = [[]]
    for _ in range(blocks):
        start = len(producers) - 1
        producers += [[start], [start + 1], [start + 2], [start + 3], [start + 4, start]]
    return producers


def test_modules_are_blocks() -> None:
    paths = named(chain(6), "a/x", "a/x", "a/x", "b", "b", "b")
    assert paths == [("a",)] * 3 + [("b",)] * 3


def test_a_frame_around_few_nodes_or_around_another_frame_is_left_out() -> None:
    paths = named(chain(8), *["net/a"] * 2, *["net/b/only/one"] * 3, *["net/c"] * 3)
    assert paths == [()] * 2 + [("b",)] * 3 + [("c",)] * 3


def test_labels_drop_what_the_frame_around_says() -> None:
    paths = named(
        chain(9),
        *["enc/enc.layer.0"] * 3,
        *["enc/enc.layer.1"] * 3,
        *["dec/dec.0"] * 3,
    )
    assert paths[0] == ("enc", "layer.0")
    assert paths[3] == ("enc", "layer.1")
    paths = named(chain(6), *["stage/stage.0"] * 3, *["stage/stage.1"] * 3)
    assert {path[-1] for path in paths} == {"stage.0", "stage.1"}


def test_a_module_called_again_on_its_own_answer_is_two_blocks() -> None:
    paths = named(chain(9), *["a"] * 3, *["b"] * 3, *["a"] * 3)
    assert paths == [("a",)] * 3 + [("b",)] * 3 + [("a (2)",)] * 3


def test_a_node_without_a_module_belongs_to_those_around_it() -> None:
    paths = named(chain(7), "a", "a", "", "a", "b", "b", "b")
    assert paths == [("a",)] * 4 + [("b",)] * 3


def test_few_known_modules_are_not_the_blocks() -> None:
    assert named(chain(8), "a", "a", "a", *[""] * 5) == [()] * 8


def test_a_graph_without_names_is_cut_where_one_value_crosses() -> None:
    paths = unnamed(residual(6))
    assert paths[0] == ()
    assert [paths[1 + 5 * at] for at in range(6)] == [(f"stage {at + 1}",) for at in range(6)]
    for at in range(6):
        assert len(set(paths[1 + 5 * at : 6 + 5 * at])) == 1


def test_a_value_read_along_the_whole_graph_does_not_hinder_cuts() -> None:
    producers = residual(6)
    for node in range(3, len(producers), 5):
        producers[node].append(0)
    assert len({path for path in unnamed(producers) if path}) >= 4


def test_what_is_constant_goes_with_its_reader() -> None:
    producers = [list[int]() for _ in range(6)] + [[6 + p for p in read] for read in residual(6)]
    for at in range(6):
        producers[7 + 5 * at].append(at)  # read by the first node of each block
    constant = [node < 6 for node in range(len(producers))]
    paths = block_paths(producers, [()] * len(producers), constant)
    assert [paths[at] for at in range(6)] == [paths[7 + 5 * at] for at in range(6)]


def test_no_block_of_a_long_chain_holds_more_than_is_taken_in() -> None:
    boxes: dict[Path, set[str]] = {}
    for node, path in enumerate(unnamed(chain(5_000))):
        for depth in range(len(path)):
            boxes.setdefault(path[:depth], set()).add(path[depth])
        boxes.setdefault(path, set()).add(f"node {node}")
    assert max(map(len, boxes.values())) <= MOST_BOXES


def test_nodes_in_any_order_and_cycles_are_taken() -> None:
    assert named([[1], [2], []], "a", "a", "a") == [()] * 3
    assert named([[2], [0], [1], []], "a", "b", "a", "b") == [()] * 4


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[Path]]:
    count = draw(st.integers(1, 40))
    producers = [
        sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else []
        for node in range(count)
    ]
    scope = st.lists(st.sampled_from("abc"), max_size=3).map(tuple)
    return producers, [draw(scope) for _ in range(count)]


@settings(deadline=None, max_examples=200)
@given(graphs())
def test_no_two_boxes_depend_on_each_other_both_ways(
    graph: tuple[list[list[int]], list[Path]],
) -> None:
    producers, scopes = graph
    paths = block_paths(producers, scopes, [False] * len(producers))
    around = {path[:depth] for path in paths for depth in range(len(path) + 1)}
    for block in around:
        inside = [node for node, path in enumerate(paths) if path[: len(block)] == block]
        box = {
            node: paths[node][len(block)] if len(paths[node]) > len(block) else f"node {node}"
            for node in inside
        }
        waiting = {
            name: {box[p] for n in inside if box[n] == name for p in producers[n] if p in box}
            - {name}
            for name in set(box.values())
        }
        while waiting:
            ready = {name for name, read in waiting.items() if not read & set(waiting)}
            assert ready, f"a cycle among {sorted(waiting)} in {block}"
            waiting = {name: read for name, read in waiting.items() if name not in ready}
