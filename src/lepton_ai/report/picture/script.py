"""What the page of a graph does: open blocks, find, point at, zoom. It fetches nothing.

``place`` and ``stretch`` do what :mod:`lepton_ai.report.picture.placing` does for the page as it
opens, from the same layouts, so that a block closed and opened again is as it was.
"""

SCRIPT = r"""
"use strict";
(() => {
const NS = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("data").textContent);
const {scenes, nodes, keys, sizes} = data;
const opened = new Set(data.opened);
const svg = document.getElementById("graph"), view = document.getElementById("view");
const tip = document.getElementById("tip"), byId = id => document.getElementById(id);
const [PARENT, LABEL, ITEMS, EDGES, BLOCK] = [0, 1, 2, 3, 4];
const [KIND, REF, MIDDLE, LAYER, WIDTH, HEIGHT] = [0, 1, 2, 3, 4, 5];
const isPort = item => item[KIND] === "entry" || item[KIND] === "exit";
const isOpen = item => item[KIND] === "block" && opened.has(item[REF]);
const elementOf = item => isPort(item) ? null : byId(item[KIND][0] + item[REF]);

// Where each item is: the id of its element, or its scene and port, to its place in the scene.
const placeOf = new Map(), ports = new Map();
scenes.forEach((scene, s) => scene[ITEMS].forEach((item, at) => {
  if (isPort(item)) ports.set(`${s} ${item[KIND]} ${item[REF]}`, at);
  else placeOf.set(item[KIND][0] + item[REF], [s, at]);
}));

// ---- placing ----------------------------------------------------------------------------------
const stretch = spans => {
  const marks = [...new Set(spans.flatMap(([low, high]) => [low, high]))].sort((a, b) => a - b);
  const images = marks.slice(0, 1), factors = [];
  for (let at = 0; at + 1 < marks.length; at++) {
    const inside = spans.filter(([low, high]) => low <= marks[at] && marks[at + 1] <= high);
    const factor = inside.length ? Math.max(...inside.map(span => span[2])) : 1;
    factors.push(factor);
    images.push(images[at] + factor * (marks[at + 1] - marks[at]));
  }
  return x => {
    let place = marks.length - 1;
    while (place >= 0 && marks[place] > x) place--;
    return place < 0 ? x : images[place] + (factors[place] ?? 1) * (x - marks[place]);
  };
};

const place = s => {
  const [parent, , items, edges] = scenes[s];
  load(s);
  const inner = items.map(item => isOpen(item) ? place(item[REF]) : null);
  const size = items.map((item, at) => inner[at] ? [inner[at].width, inner[at].height]
    : [item[WIDTH], item[HEIGHT]]);
  const wider = items.map((item, at) => [item, size[at][0]]).filter(([item, width]) =>
    isOpen(item) && width > item[WIDTH]);
  const along = stretch(wider.map(([item, width]) => [item[MIDDLE] - item[WIDTH] / 2,
    item[MIDDLE] + item[WIDTH] / 2, width / item[WIDTH]]));
  let lefts = items.map((item, at) => (along(item[MIDDLE] - item[WIDTH] / 2)
    + along(item[MIDDLE] + item[WIDTH] / 2) - size[at][0]) / 2);
  let passes = edges.map(edge => edge.slice(3).map(along));
  let low = 0, high = 0, first = true;
  const cover = (from, to) => {
    low = first ? from : Math.min(low, from);
    high = first ? to : Math.max(high, to);
    first = false;
  };
  lefts.forEach((left, at) => cover(left, left + size[at][0]));
  passes.forEach(line => line.forEach(x => cover(x, x)));
  low -= sizes.side;
  high += sizes.side;
  if (parent !== null) {
    const [around, at] = placeOf.get("b" + s);
    const short = Math.max(0, scenes[around][ITEMS][at][WIDTH] - (high - low));
    low -= short / 2;
    high += short / 2;
    const entry = items.findIndex(item => item[KIND] === "entry");
    const half = Math.max(lefts[entry] - low, high - lefts[entry]);
    if (entry >= 0 && 2 * half <= sizes.mostEvened * (high - low))
      [low, high] = [lefts[entry] - half, lefts[entry] + half];
  }
  const width = high - low;
  lefts = lefts.map(left => left - low);
  passes = passes.map(line => line.map(x => x - low));
  // Layers.
  const layers = items.map(item => item[LAYER]);
  const count = Math.max(-1, ...layers) + 1;
  const heights = Array(count).fill(0), ways = Array(count).fill(0);
  layers.forEach((layer, at) => { heights[layer] = Math.max(heights[layer], size[at][1]); });
  const middles = lefts.map((left, at) => left + size[at][0] / 2);
  edges.forEach(([source, target], e) => {
    if (layers[target] <= layers[source]) return;
    const points = [middles[source], ...passes[e], middles[target]];
    for (let step = 0; step + 1 < points.length; step++) {
      const at = layers[source] + step;
      ways[at] = Math.max(ways[at], Math.abs(points[step] - points[step + 1]));
    }
  });
  const has = kind => items.some(item => item[KIND] === kind);
  const tops = [], bottoms = [];
  let y = parent !== null ? sizes.head : sizes.side;
  for (let layer = 0; layer < count; layer++) {
    if (layer === 0 && has("entry")) {
      tops.push(0); bottoms.push(0);
      y += Math.min(ways[0] * sizes.perWay, sizes.mostGap - sizes.gap);
      continue;
    }
    tops.push(y); bottoms.push(y + heights[layer]);
    y += heights[layer] + Math.min(sizes.gap + sizes.perWay * ways[layer], sizes.mostGap);
  }
  const last = bottoms.length ? bottoms[count - 1] : 0;
  const height = has("exit") ? last : last + sizes.foot;
  const boxes = items.map((item, at) => ({left: lefts[at], width: size[at][0],
    height: size[at][1], top: tops[layers[at]] + (heights[layers[at]] - size[at][1]) / 2}));
  // Elements.
  items.forEach((item, at) => {
    const element = elementOf(item);
    if (!element) return;
    element.setAttribute("transform",
      `translate(${boxes[at].left.toFixed(1)} ${boxes[at].top.toFixed(1)})`);
    if (item[KIND] === "block") show(element, item, size[at]);
  });
  const end = (at, port, value, toward) => {
    const box = boxes[at];
    if (inner[at]) {
      const found = ports.get(`${items[at][REF]} ${port} ${value}`);
      if (found !== undefined) return box.left + inner[at].boxes[found].left;
    }
    const corner = Math.min(sizes.corner, box.width / 2);
    return Math.min(Math.max(toward, box.left + corner), box.left + box.width - corner);
  };
  const lines = byId("c" + s).firstElementChild;
  edges.forEach(([source, target, value], e) => {
    const path = lines.children[e] ?? lines.appendChild(document.createElementNS(NS, "path"));
    path.setAttribute("class", isPort(items[target]) || isOpen(items[target]) ? "" : "a");
    if (layers[target] <= layers[source]) { path.setAttribute("d", ""); return; }
    const out = boxes[source], into = boxes[target], line = passes[e];
    let x = end(source, "exit", value, line[0] ?? middles[target]);
    const goal = end(target, "entry", value, line[line.length - 1] ?? middles[source]);
    let d = `M${x.toFixed(1)} ${(out.top + out.height).toFixed(1)}`;
    [...line, goal].forEach((at, step) => {
      const upper = bottoms[layers[source] + step];
      const lower = tops[layers[source] + step + 1] - (step === line.length ? sizes.tip : 0);
      d += `V${upper.toFixed(1)}`;
      if (Math.abs(at - x) > 0.05) {
        const half = (upper + lower) / 2;
        d += "C" + [x, half, at, half, at, lower].map(each => each.toFixed(1)).join(" ");
      }
      x = at;
    });
    path.setAttribute("d", d + `V${into.top.toFixed(1)}`);
  });
  return {width, height, boxes};
};

const load = s => {
  const content = byId("c" + s), template = byId("s" + s);
  if (content.childElementCount || !template) return;
  const lines = content.appendChild(document.createElementNS(NS, "g"));
  lines.setAttribute("class", "e");
  content.append(...document.importNode(template.content, true).firstElementChild.children);
  content.querySelectorAll(":scope > .n").forEach(element => {
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", nodes[+element.id.slice(1)].slice(0, 2).join(", "));
  });
};

const show = (element, item, [width, height]) => {
  const open = isOpen(item), head = element.querySelector(":scope > .k");
  element.classList.toggle("open", open);
  element.firstElementChild.setAttribute("width", width);
  element.firstElementChild.setAttribute("height", height);
  head.setAttribute("aria-expanded", open);
  const word = head.lastElementChild;
  word.textContent = (open ? "▾" : "▸") + word.textContent.slice(1);
};

// ---- zoom -------------------------------------------------------------------------------------
let zoom = 1, whole = {width: +svg.getAttribute("width"), height: +svg.getAttribute("height")};
const resize = () => {
  svg.setAttribute("viewBox", `0 0 ${whole.width} ${whole.height}`);
  svg.setAttribute("width", whole.width * zoom);
  svg.setAttribute("height", whole.height * zoom);
};
const zoomTo = (next, x, y) => {
  const box = view.getBoundingClientRect(), before = svg.getBoundingClientRect();
  x ??= box.left + box.width / 2; y ??= box.top + box.height / 2;
  const at = [(x - before.left) / zoom, (y - before.top) / zoom];
  zoom = Math.min(Math.max(next, 0.05), 3);
  resize();
  const after = svg.getBoundingClientRect();
  view.scrollLeft += after.left + at[0] * zoom - x;
  view.scrollTop += after.top + at[1] * zoom - y;
};
const fit = () => {
  zoom = Math.min(1, view.clientWidth / whole.width, view.clientHeight / whole.height);
  resize();
};
const fitWidth = least => {
  zoom = Math.max(Math.min(1, view.clientWidth / whole.width), least);
  resize();
  view.scrollLeft = (view.scrollWidth - view.clientWidth) / 2;
};
view.addEventListener("wheel", event => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoomTo(zoom * Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
}, {passive: false});

// ---- opening ----------------------------------------------------------------------------------
const refresh = anchor => {
  const before = anchor?.getBoundingClientRect();
  const {width, height} = place(0);
  whole = {width, height};
  resize();
  if (!before) return;
  const after = anchor.getBoundingClientRect();
  view.scrollTop += after.top - before.top;
  view.scrollLeft += after.left + after.width / 2 - before.left - before.width / 2;
};
const toggle = s => {
  opened.has(s) ? opened.delete(s) : opened.add(s);
  hideTip();
  refresh(byId("b" + s));
};
const chain = s => {
  const around = [];
  for (let at = s; at !== null; at = scenes[at][PARENT]) around.push(at);
  return around.reverse();
};
const itemOf = node => placeOf.get("n" + node) ?? placeOf.get("b" + nodes[node][6]);
// The element of a node, or of the closed block that it is in.
const visible = node => {
  const [s, at] = itemOf(node), closed = chain(s).find(one => one && !opened.has(one));
  return closed === undefined ? elementOf(scenes[s][ITEMS][at]) : byId("b" + closed);
};

const MOST_OPENED = 30;
const point = (found, focus) => {
  document.querySelectorAll(".hit").forEach(one => one.classList.remove("hit"));
  const size = opened.size;
  found.slice(0, MOST_OPENED).flatMap(node => chain(itemOf(node)[0])).forEach(s => {
    if (s) opened.add(s);
  });
  if (opened.size !== size) refresh();
  found.forEach(node => visible(node).classList.add("hit"));
  if (!found.length) return;
  const target = visible(found[0]), box = target.firstElementChild.getBoundingClientRect();
  const around = view.getBoundingClientRect();
  if (zoom < 0.6) { zoomTo(0.8); return point(found, focus); }
  view.scrollTop += box.top + Math.min(box.height, 80) / 2 - around.top - around.height / 3;
  view.scrollLeft += box.left + box.width / 2 - around.left - around.width / 2;
  if (focus) focusOn(target);
};
const focusOn = element => {
  const target = element.matches(".b") ? element.querySelector(":scope > .k") : element;
  target.focus({preventScroll: true});
};

svg.addEventListener("click", event => {
  if (moved) return;
  const head = event.target.closest(".k"), block = event.target.closest(".b");
  if (head) toggle(+head.parentNode.id.slice(1));
  else if (block && !block.classList.contains("open")) toggle(+block.id.slice(1));
});

// ---- dragging ---------------------------------------------------------------------------------
let held = null, moved = false;
view.addEventListener("pointerdown", event => {
  moved = false;
  if (event.button || event.pointerType === "touch") return;
  held = [event.clientX, event.clientY, view.scrollLeft, view.scrollTop];
});
window.addEventListener("pointermove", event => {
  if (!held) return;
  const [x, y] = [event.clientX - held[0], event.clientY - held[1]];
  if (Math.abs(x) + Math.abs(y) > 4) moved = true;
  if (!moved) return;
  view.classList.add("held");
  view.scrollLeft = held[2] - x;
  view.scrollTop = held[3] - y;
});
window.addEventListener("pointerup", () => { held = null; view.classList.remove("held"); });

// ---- tips -------------------------------------------------------------------------------------
const line = (text, style) => {
  if (!text) return;
  const row = document.createElement(style === "b" ? "b" : "div");
  if (style && style !== "b") row.className = style;
  row.textContent = text;
  tip.append(row);
};
const sentence = key => document.querySelector(`[data-key="${key}"]`)?.firstChild.textContent ?? "";
const showTip = (element, box) => {
  const id = element.id, ref = +id.slice(1);
  tip.replaceChildren();
  if (id[0] === "n" || (id[0] === "b" && scenes[ref][BLOCK][0] !== null)) {
    const at = id[0] === "n" ? ref : scenes[ref][BLOCK][0];
    const [name, operator, shapes, macs, time, kernel, , found, refused] = nodes[at];
    line(name, "b");
    line(operator);
    shapes.forEach(shape => line("gives " + shape));
    line(macs && `${macs} multiply-accumulates`);
    line(time);
    const others = kernel === 2 ? "another" : `${kernel - 1} more`;
    line(kernel > 1 && `runs in one kernel with ${others}`);
    found.slice(0, 6).forEach(key => line(sentence("f" + key), "found"));
    if (found.length > 6) line(`and ${found.length - 6} more findings`, "found");
    refused.forEach(why => line(why, "bad"));
  } else if (id[0] === "b") {
    const [, count, time, macs, found] = scenes[ref][BLOCK];
    line(chain(ref).slice(1).map(s => scenes[s][LABEL]).join(" › "), "b");
    line(`${count} nodes`);
    line(macs && `${macs} multiply-accumulates`);
    line(time);
    if (found) line(found === 1 ? "1 finding" : `${found} findings`, "found");
  } else {
    const [name, shape] = (id[0] === "i" ? data.inputs : data.outputs)[ref];
    line(name, "b");
    line((id[0] === "i" ? "input " : "output ") + shape);
  }
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect();
  const right = box.right + 12 + width < innerWidth;
  tip.style.left = `${Math.max(4, right ? box.right + 12 : box.left - width - 12)}px`;
  tip.style.top = `${Math.max(4, Math.min(box.top, innerHeight - height - 8))}px`;
};
const hideTip = () => { tip.hidden = true; };
const lit = element => {
  svg.querySelectorAll(".near").forEach(path => path.classList.remove("near"));
  if (!element) return;
  const [s, at] = placeOf.get(element.id), lines = byId("c" + s).firstElementChild.children;
  scenes[s][EDGES].forEach(([source, target], e) => {
    if (source === at || target === at) lines[e].classList.add("near");
  });
};
// A frame that is open tells of itself at its head only.
const told = target => {
  const element = target.closest("[id^=n], [id^=b], [id^=i], [id^=o]");
  if (!element || !svg.contains(element)) return null;
  return element.classList.contains("open") && !target.closest(".k") ? null : element;
};
const reach = (element, target) =>
  (target.closest(".k") ?? element.firstElementChild).getBoundingClientRect();
svg.addEventListener("pointerover", event => {
  const element = held ? null : told(event.target);
  element ? showTip(element, reach(element, event.target)) : hideTip();
  lit(element);
});
svg.addEventListener("pointerleave", () => { hideTip(); lit(null); });
svg.addEventListener("focusin", event => {
  const element = told(event.target);
  if (element && event.target.matches(":focus-visible")) {
    showTip(element, reach(element, event.target));
    lit(element);
  }
});
svg.addEventListener("focusout", hideTip);
view.addEventListener("scroll", hideTip);

// ---- keys -------------------------------------------------------------------------------------
const moves = {ArrowDown: [0, 1], ArrowUp: [1, 0]};
const neighbour = (element, key) => {
  const [s, at] = placeOf.get(element.id), [, , items, edges] = scenes[s];
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const sign = key === "ArrowLeft" ? -1 : 1;
    const beside = items.filter(item => !isPort(item) && item[LAYER] === items[at][LAYER]
      && sign * (item[MIDDLE] - items[at][MIDDLE]) > 0);
    beside.sort((a, b) => sign * (a[MIDDLE] - b[MIDDLE]));
    return beside.length ? elementOf(beside[0]) : null;
  }
  const [from, to] = moves[key];
  if (key === "ArrowDown" && isOpen(items[at])) {
    const inside = scenes[items[at][REF]][ITEMS].filter(item => !isPort(item));
    inside.sort((a, b) => a[LAYER] - b[LAYER]);
    return inside.length ? elementOf(inside[0]) : null;
  }
  const next = edges.filter(edge => edge[from] === at).map(edge => items[edge[to]]);
  const inner = next.find(item => !isPort(item));
  if (inner) return elementOf(inner);
  if (!next.length || scenes[s][PARENT] === null) return null;
  return key === "ArrowUp" ? byId("b" + s) : neighbour(byId("b" + s), "outside");
};
moves.outside = [0, 1];
svg.addEventListener("keydown", event => {
  const head = event.target.closest(".k");
  if (head && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    toggle(+head.parentNode.id.slice(1));
    return;
  }
  const element = event.target.closest("[id]");
  if (!event.key.startsWith("Arrow") || !element || !placeOf.has(element.id)) return;
  const next = neighbour(element, event.key);
  event.preventDefault();
  if (!next) return;
  next.scrollIntoView({block: "nearest", inline: "nearest"});
  focusOn(next);
});

// ---- lists, search and buttons ----------------------------------------------------------------
const aside = document.querySelector("aside");
aside.querySelectorAll("[data-key]").forEach(button => {
  button.disabled = !(keys[button.dataset.key] ?? []).length;
});
aside.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  aside.querySelectorAll(".on").forEach(one => one.classList.remove("on"));
  button.classList.add("on");
  if (button.dataset.node) point([+button.dataset.node], true);
  else point(keys[button.dataset.key] ?? []);
});
const search = byId("search"), results = byId("results"), MOST_RESULTS = 25;
const matching = () => {
  const words = search.value.trim().toLowerCase();
  if (!words) return [];
  return nodes.map((node, at) => at).filter(at =>
    nodes[at][0].toLowerCase().includes(words) || nodes[at][1].toLowerCase() === words);
};
search.addEventListener("input", () => {
  const found = matching();
  results.replaceChildren(...found.slice(0, MOST_RESULTS).map(at => {
    const row = document.createElement("li"), button = document.createElement("button");
    const small = document.createElement("small");
    button.type = "button";
    button.dataset.node = at;
    button.textContent = nodes[at][0];
    small.textContent = nodes[at][1];
    button.append(small);
    row.append(button);
    return row;
  }));
  byId("found").textContent = !search.value.trim() ? "" : found.length > MOST_RESULTS
    ? `${found.length} nodes, the first ${MOST_RESULTS} shown`
    : `${found.length || "no"} node${found.length === 1 ? "" : "s"}`;
});
search.addEventListener("keydown", event => {
  if (event.key === "Enter") point(matching().slice(0, 1), true);
});
const everyBlock = scenes.map((_, s) => s).slice(1);
const acts = {
  closer: () => zoomTo(zoom * 1.25), farther: () => zoomTo(zoom / 1.25), fit,
  width: () => fitWidth(0.05),
  all: () => { everyBlock.forEach(s => opened.add(s)); refresh(); fitWidth(0.4); },
  none: () => { opened.clear(); refresh(); fitWidth(0.4); },
};
document.querySelector(".tools").addEventListener("click", event => {
  const act = event.target.closest("button")?.dataset.act;
  if (act) acts[act]();
});
byId("all").disabled = nodes.length > sizes.mostDrawn || !everyBlock.length;
document.querySelector(".tools").hidden = false;
svg.querySelector("[tabindex]")?.setAttribute("tabindex", "0");
fitWidth(0.4);
})();
"""
