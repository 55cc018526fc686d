import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_ai.report.picture.layout import lay_out
from lepton_ai.report.picture.placing import Placed, Stretch, place_all
from lepton_ai.report.picture.scenes import Scenes, fill, nest


def outline(
    producers: list[list[int]], blocks: list[tuple[str, ...]] | None = None
) -> dict[str, Any]:
    nodes = [
        {
            "index": at,
            "name": f"node {at}",
            "operator": "Op" * (1 + at % 5),
            "block": blocks[at] if blocks else (),
            "inputs": read,
            "reads": [] if read else [0],
            "within": None,
            "body": "",
            "shapes": ["FLOAT [2]"],
            "macs": 0,
        }
        for at, read in enumerate(producers)
    ]
    last = len(producers) - 1
    return {
        "name": "net",
        "inputs": [{"name": "x", "shape": "FLOAT [2]"}],
        "outputs": [{"name": "y", "shape": "FLOAT [2]", "node": last}],
        "nodes": nodes,
    }


def built(record: dict[str, Any]) -> Scenes:
    scenes = nest(record)
    fill(scenes, record, ["2"] * len(record["nodes"]), [""] * len(scenes.scenes))
    return scenes


def place(record: dict[str, Any], opened: set[int] | None = None) -> tuple[Scenes, Placed]:
    scenes = built(record)
    opened = set(range(1, len(scenes.scenes))) if opened is None else opened
    return scenes, place_all(scenes.scenes, lay_out(scenes.scenes), opened)[0]


def middle(placed: Placed, scenes: Scenes, node: int) -> float:
    box = placed.boxes[scenes.scenes[0].places["node", node]]
    return box.left + box.width / 2


def test_a_chain_is_a_straight_line_downwards() -> None:
    scenes, placed = place(outline([[], [0], [1], [2], [3]]))
    assert len({round(middle(placed, scenes, node), 3) for node in range(5)}) == 1
    tops = [placed.boxes[scenes.scenes[0].places["node", node]].top for node in range(5)]
    assert tops == sorted(tops)
    assert len(set(tops)) == 5
    assert not any("C" in path for path in placed.paths)


def test_what_a_skip_passes_stays_straight_and_the_skip_goes_around() -> None:
    scenes, placed = place(outline([[], [0], [1], [2], [3, 0]]))
    assert len({round(middle(placed, scenes, node), 1) for node in range(5)}) == 1
    skip = placed.paths[list(scenes.scenes[0].edges).index((1, 5, 0))]
    assert skip.count("C") >= 2


def test_branches_are_side_by_side() -> None:
    scenes, placed = place(outline([[], [0], [0], [1], [2], [3, 4]]))
    boxes = [placed.boxes[scenes.scenes[0].places["node", node]] for node in range(6)]
    assert boxes[1].top == boxes[2].top
    assert boxes[3].top == boxes[4].top
    assert math.isclose(boxes[1].left + boxes[1].width / 2, boxes[3].left + boxes[3].width / 2)


def test_a_line_enters_an_open_block_where_it_goes_on_inside() -> None:
    record = outline([[], [0], [1], [2], [3]], [(), ("b",), ("b",), ("b",), ()])
    scenes = built(record)
    placed = place_all(scenes.scenes, lay_out(scenes.scenes), {1})
    root, block = scenes.scenes
    at = placed[0].boxes[root.places["block", 1]].left
    port = placed[1].boxes[block.places["entry", 0]].left
    edge = list(root.edges).index((root.places["node", 0], root.places["block", 1], 0))
    numbers = placed[0].paths[edge].replace("V", " V ").split()
    assert math.isclose(float(numbers[0][1:]), at + port, abs_tol=0.2)


def test_a_cycle_is_laid_out_too() -> None:
    _, placed = place(outline([[2], [0], [1]]))
    assert placed.height > 0


@st.composite
def nested(draw: st.DrawFn) -> tuple[dict[str, Any], set[int]]:
    count = draw(st.integers(1, 25))
    producers = [
        sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else []
        for node in range(count)
    ]
    # Blocks of neighbours, so that no two depend on each other both ways.
    size, inner = draw(st.integers(2, 8)), draw(st.integers(2, 4))
    blocks = [(f"b{node // (size * inner)}", f"c{node // size}") for node in range(count)]
    opened = draw(st.sets(st.integers(1, 2 * count)))
    return outline(producers, blocks), opened


@settings(deadline=None, max_examples=100)
@given(nested())
def test_nothing_overlaps_or_leaves_its_frame_whatever_is_open(
    given_: tuple[dict[str, Any], set[int]],
) -> None:
    record, opened = given_
    scenes = built(record)
    layouts = lay_out(scenes.scenes)
    for scene, layout in zip(scenes.scenes, layouts, strict=True):
        for source, target, _ in scene.edges:
            assert layout.layers[source] < layout.layers[target]
    for index, placed in place_all(scenes.scenes, layouts, opened).items():
        items = scenes.scenes[index].items
        boxes = [b for b, i in zip(placed.boxes, items, strict=True) if i.height]
        for at, one in enumerate(boxes):
            assert one.left >= 0
            assert one.left + one.width <= placed.width + 1e-6
            assert one.top + one.height <= placed.height + 1e-6
            for other in boxes[:at]:
                apart_x = max(
                    one.left - other.left - other.width, other.left - one.left - one.width
                )
                apart_y = max(one.top - other.top - other.height, other.top - one.top - one.height)
                assert max(apart_x, apart_y) > 1


spans = st.lists(
    st.tuples(st.floats(-100, 100), st.floats(1, 50), st.floats(1, 9)).map(
        lambda one: (one[0], one[0] + one[1], one[2])
    ),
    max_size=5,
)


@given(spans, st.floats(-200, 200), st.floats(0, 50))
def test_stretching_never_brings_closer(
    given_: list[tuple[float, float, float]], at: float, further: float
) -> None:
    stretch = Stretch(given_)
    assert stretch(at + further) - stretch(at) >= further - 1e-6
    for low, high, factor in given_:
        assert stretch(high) - stretch(low) >= factor * (high - low) - 1e-6
