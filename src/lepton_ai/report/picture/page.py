"""The picture of a graph as one self-contained HTML page, with what an inspection found in it."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lepton_ai.report import style as page_style
from lepton_ai.report.picture import layout, placing, style
from lepton_ai.report.picture.data import script_data
from lepton_ai.report.picture.marks import Marks, block_marks, read_marks
from lepton_ai.report.picture.panel import header, legend, panel
from lepton_ai.report.picture.scenes import Scenes, fill, nest
from lepton_ai.report.picture.script import SCRIPT
from lepton_ai.report.picture.svg import Drawing
from lepton_ai.report.quantities import milliseconds, shown
from lepton_ai.report.reading import Record, text

#: A graph of at most this many nodes opens whole; of a larger one, whole levels of blocks open
#: while no more boxes than this are seen.
READABLE_NODES, READABLE_BOXES = 60, 70


def graph_page(report: Record, outline: Record) -> str:
    """One HTML page for the report of an inspection and the outline of its graph, both as JSON.

    The same records always give the same page. It fetches nothing; all text in it is escaped, and a
    browser runs no script on it but its own. What the report lacks is left out.
    """
    nodes = outline["nodes"]
    marks = read_marks(report, nodes)
    scenes = nest(outline)
    blocks = block_marks(marks, scenes, nodes)
    took = ["" if one.time is None else milliseconds(one.time) for one in blocks]
    fill(scenes, outline, [_note(node) for node in nodes], took)
    layouts = layout.lay_out(scenes.scenes)
    opened = _opened(scenes, len(nodes))
    placed = placing.place_all(scenes.scenes, layouts, opened)
    drawing = Drawing(scenes, placed, [node["name"] for node in nodes], marks, blocks)
    data = script_data(outline, marks, scenes, layouts, blocks, opened)
    return _page(report, outline, marks, drawing, data)


def _note(node: Mapping[str, Any]) -> str:
    """The shape of a node's first output, short."""
    shape = node["shapes"][0].partition(" ")[2] if node["shapes"] else ""
    return shape.strip("[]").replace(",", "×") if shape.startswith("[") else ""


def _opened(scenes: Scenes, nodes: int) -> set[int]:
    """The blocks that are open when the page is."""
    if nodes <= READABLE_NODES:
        return {scene.index for scene in scenes.scenes[1:]}
    level, opened = [scenes.scenes[0]], {0}
    seen = len(level[0].items)
    while level:
        level = [
            scenes.scenes[item.ref]
            for scene in level
            for item in scene.items
            if item.kind == "block"
        ]
        seen += sum(len([i for i in s.items if i.kind in ("node", "block")]) - 1 for s in level)
        if seen > READABLE_BOXES:
            break
        opened.update(scene.index for scene in level)
    return opened - {0}


def _page(
    report: Record, outline: Record, marks: Marks, drawing: Drawing, data: Mapping[str, Any]
) -> str:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    # Inside a script element nothing is escaped but must not end it, so no "<" may be there.
    held = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    tools = "".join(
        f'<button type="button" data-act="{act}" id="{act}" title="{title}">{word}</button>'
        for act, word, title in _TOOLS
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Names come from a file: even if one slipped through, no browser would run or fetch it.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'\">"
        f"<title>{shown(text(report, 'name') or str(outline['name']))} · Lepton graph</title>"
        f"<style>{page_style.CSS}{style.CSS}</style></head>\n<body>"
        f"{header(report, outline)}\n"
        f'<main><div class="tools" hidden>{tools}</div>'
        f'<div id="view">{drawing.svg()}</div></main>\n'
        '<aside><input id="search" type="search" placeholder="Find a node" '
        'aria-label="Find a node by its name or operator" autocomplete="off" spellcheck="false">'
        '<small id="found" role="status"></small><ul id="results"></ul>'
        f'{panel(report, marks)}{legend(report, marks.total)}</aside><div id="tip" hidden></div>\n'
        f'{drawing.templates()}<script type="application/json" id="data">{held}</script>\n'
        f"<script>{SCRIPT}</script></body></html>\n"
    )
    return page.encode("utf-8", "replace").decode("utf-8")


_TOOLS = (
    ("closer", "+", "zoom in (Ctrl and scroll)"),
    ("farther", "−", "zoom out (Ctrl and scroll)"),
    ("width", "width", "fit the width"),
    ("fit", "whole", "fit the whole graph"),
    ("all", "open all", "open all blocks"),
    ("none", "close all", "close all blocks"),
)
