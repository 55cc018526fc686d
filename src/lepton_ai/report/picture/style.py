"""How the page of a graph looks, on top of what all pages share."""

CSS = """
:root { --tu: #f1f3f6; --t0: #fff9ea; --t1: #ffefc7; --t2: #fedc91; --t3: #fabb5f; --t4: #ef8c3f;
  --t5: #c8461b; --hot: #fff; --fp: #2f6fbd; --fn: #2b8a6b; --fs: #8b97a5; --fc: #b0417e;
  --fe: #8a63c9; --found: #b3157f; --edge: #9aa6b3; --frame: #f8fafb; }
@media (prefers-color-scheme: dark) { :root { --tu: #222a33; --t0: #2b2618; --t1: #43371a;
  --t2: #5f481a; --t3: #80591a; --t4: #96581a; --t5: #ef8238; --hot: #12171d; --fp: #6fa8ee;
  --fn: #54b895; --fs: #6d7a88; --fc: #dd7fb4; --fe: #b395ec; --found: #ff8fd2; --edge: #5c6875;
  --frame: #161c23; } }
html, body { height: 100%; }
body { display: grid; grid-template: auto 1fr / 1fr 23rem; overflow: hidden; font-size: 15px; }
header { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .4rem 2rem; align-items: center;
  padding: .7rem 1.1rem; border-bottom: 1px solid var(--line); }
h1 { font-size: 1.25rem; margin: 0; max-width: 30rem; }
.line { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; }
.line div { display: flex; flex-direction: column; }
.line dd { font-weight: 650; line-height: 1.25; }
.line dt { font-size: .76rem; line-height: 1.2; }
main { max-width: none; margin: 0; padding: 0; min-width: 0; min-height: 0; position: relative; }
#view { position: absolute; inset: 0; overflow: auto; cursor: grab; }
#view.held { cursor: grabbing; user-select: none; }
#graph { display: block; margin: 2.6rem auto 0; }
svg { width: auto; min-width: 0; }
.tools { position: absolute; top: .7rem; left: .8rem; display: flex; gap: .3rem; z-index: 1; }
.tools button, aside input { font: inherit; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: .4rem; padding: .15rem .6rem; cursor: pointer; }
.tools button:disabled { color: var(--soft); cursor: not-allowed; }
aside { border-left: 1px solid var(--line); overflow: auto; padding: .8rem 1rem 2rem; min-width: 0;
  font-size: .9rem; }
aside input { width: 100%; padding: .4rem .6rem; cursor: text; }
aside summary { font-weight: 650; cursor: pointer; padding: .9rem 0 .2rem; }
aside h3 { font-size: .85rem; margin: .6rem 0 .1rem; }
aside small { color: var(--soft); font-weight: 400; }
aside ul { list-style: none; padding: 0; margin: 0; }
aside li button { display: block; width: 100%; text-align: left; font: inherit; color: inherit;
  background: none; border: 0; border-radius: .35rem; padding: .28rem .5rem; margin: 0 -.5rem;
  cursor: pointer; overflow-wrap: anywhere; line-height: 1.35; }
aside li button:hover, aside li button.on { background: var(--front-tint); }
aside li button:disabled { cursor: default; background: none; }
aside li small { display: block; }
.legend span { display: flex; gap: .5rem; align-items: center; font-weight: 400; margin: 0; }
.legend p { margin: .4rem 0 .1rem; }
.mark { display: inline-block; min-width: 1.1rem; padding: 0 .25rem; border-radius: .6rem;
  text-align: center; font-size: .75rem; background: var(--found); color: var(--paper); }
.mark.x { background: var(--bad); }
#tip { position: fixed; z-index: 2; max-width: 27rem; padding: .5rem .7rem; font-size: .83rem;
  line-height: 1.4; pointer-events: none; background: var(--paper); border: 1px solid var(--line);
  border-radius: .45rem; box-shadow: 0 4px 16px #0003; overflow-wrap: anywhere; }
#tip b { display: block; }
#tip div { color: var(--soft); }
#tip .found { color: var(--found); }
#tip .bad { color: var(--bad); }
svg text { fill: var(--ink); font-size: 12.5px; font-weight: 600; text-anchor: middle; }
svg text.q { font-size: 10.5px; font-weight: 400; fill: var(--soft); }
svg .b > text, svg .k text { text-anchor: start; }
.n > rect { rx: 7px; stroke-width: 1.6; stroke: var(--fe); }
.n, .b { --fill: var(--tu); }
.n > rect, .b > rect { fill: var(--fill); }
.t0 { --fill: var(--t0); } .t1 { --fill: var(--t1); } .t2 { --fill: var(--t2); }
.t3 { --fill: var(--t3); } .t4 { --fill: var(--t4); } .t5 { --fill: var(--t5); }
svg .n.t3 > .q, svg .n.t4 > .q, svg .b.t3 > .q, svg .b.t4 > .q { fill: var(--ink); }
svg .n.t5 > text, svg .b.t5:not(.open) > text, svg .b.t5:not(.open) > .k text { fill: var(--hot); }
.n.fp > rect { stroke: var(--fp); } .n.fn > rect { stroke: var(--fn); }
.n.fs > rect { stroke: var(--fs); } .n.fc > rect { stroke: var(--fc); }
.n.r > rect { stroke: var(--bad); stroke-dasharray: 5 3; stroke-width: 2.2; }
.b > rect { rx: 10px; stroke: var(--line); stroke-width: 1.4; }
.b:not(.open) > rect { stroke: var(--edge); cursor: pointer; }
.b.open { --fill: var(--frame); }
.b.open .b.open, .b.open .b.open .b.open .b.open { --fill: var(--paper); }
.b.open .b.open .b.open { --fill: var(--frame); }
.b.open > text.q { display: none; }
.k { cursor: pointer; }
.k > rect { fill: none; pointer-events: all; }
.b:not(.open) > .k > rect { pointer-events: none; }
.b.open > .k text { fill: var(--soft); paint-order: stroke; stroke: var(--fill); stroke-width: 5px;
  stroke-linejoin: round; }
.p > rect { rx: 12px; fill: var(--paper); stroke: var(--soft); }
.e path { fill: none; stroke: var(--edge); stroke-width: 1.3; }
.e path.a { marker-end: url(#tip-end); }
.e path.near { stroke: var(--front); stroke-width: 2.4; }
#tip-end path { fill: var(--edge); }
.d rect { rx: 8px; stroke: none; fill: var(--found); } .d.x rect { fill: var(--bad); }
svg .d text { font-size: 10.5px; fill: var(--paper); }
.b.open > .d { display: none; }
.hit > rect { stroke: var(--found) !important; stroke-width: 4 !important; }
.b:not(.open) > .c { display: none; }
svg g:focus { outline: none; }
svg .n:focus-visible > rect, svg .p:focus-visible > rect, svg .k:focus-visible > rect {
  stroke: var(--front); stroke-width: 3.5; rx: 7px; }
@media (max-width: 50rem) { body { grid-template: auto 60vh auto / 1fr; overflow: auto; }
  aside { border-left: 0; border-top: 1px solid var(--line); overflow: visible; } }
@media print { body { display: block; overflow: visible; } .tools { display: none; }
  #view { position: static; overflow: visible; } #graph { max-width: 100%; height: auto; } }
"""
