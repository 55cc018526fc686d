"""How the page looks: light and dark, on a screen and on paper, with nothing fetched."""

CSS = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1b2430; --soft: #5a6675; --line: #dfe4ea; --tint: #f4f6f8;
  --good: #0b6e4f; --good-tint: #e2f4ec; --bad: #a3341f; --bad-tint: #fbe9e5;
  --front: #1f5fa8; --front-tint: #e5effa; --grid: #e9edf1; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12171d; --ink: #e6ebf0; --soft: #9aa7b5; --line: #2b343f; --tint: #1a2129;
  --good: #58cf9f; --good-tint: #12362a; --bad: #f0917c; --bad-tint: #40201a;
  --front: #7fb5f0; --front-tint: #17304b; --grid: #232b34; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; }
p { margin: .5rem 0; }
.kicker, .small, dt { color: var(--soft); font-size: .85rem; }
.kicker { margin: 0; }
th .small { display: block; font-weight: 400; text-wrap: balance; }
.recipe { font-size: 1.1rem; font-weight: 600; }
.why { max-width: 46rem; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-size: .85rem;
  font-weight: 600; background: var(--tint); color: var(--soft); white-space: nowrap; }
.badge.met, .badge.shipped { background: var(--good-tint); color: var(--good); }
.badge.missed, .badge.failed { background: var(--bad-tint); color: var(--bad); }
.badge.front, .badge.candidate { background: var(--front-tint); color: var(--front); }
dl { margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem;
  margin-top: 1.5rem; }
.tiles > div { display: flex; flex-direction: column; padding: 1rem 1.1rem; background: var(--tint);
  border-radius: .6rem; }
.tiles dt { order: 2; color: var(--ink); font-size: .95rem; }
.tiles dd { font-size: 1.75rem; font-weight: 650; line-height: 1.2; order: 1; }
.tiles dd.small { order: 3; font-size: .85rem; font-weight: 400; line-height: 1.4; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: .75rem 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0;
  border-bottom: 1px solid var(--line); }
thead th { font-size: .85rem; color: var(--soft); }
tbody th { font-weight: 500; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { white-space: normal; }
.tried tbody th { min-width: 13rem; }
.tried td:last-child { min-width: 16rem; color: var(--soft); font-size: .88rem;
  overflow-wrap: anywhere; padding-left: .5rem; }
tr.shipped th { font-weight: 700; }
blockquote { margin: 0 0 1.25rem; padding: .9rem 1.2rem; border-left: 4px solid var(--bad);
  background: var(--bad-tint); border-radius: 0 .4rem .4rem 0; font-size: 1.05rem; }
blockquote.holds { border-color: var(--good); background: var(--good-tint); }
pre { background: var(--tint); padding: 1rem; border-radius: .6rem; overflow-x: auto;
  font-size: .9rem; }
ul { padding-left: 1.2rem; }
.rewrites > li { margin-bottom: .6rem; }
svg { width: 100%; min-width: 36rem; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--grid); }
.zero { stroke: var(--line); stroke-width: 1.5; }
line.budget { stroke: var(--bad); stroke-dasharray: 6 4; }
svg text.budget { fill: var(--bad); }
.bar { stroke: currentColor; stroke-width: 1.5; }
.point { color: var(--soft); }
.point path, .point circle { fill: currentColor; }
.point.rejected circle { fill: var(--paper); stroke: currentColor; stroke-width: 1.5; }
.point.front, .legend .front { color: var(--front); }
.point.shipped, .legend .shipped { color: var(--good); }
.point.baseline, .legend .baseline { color: var(--ink); }
.point text { fill: currentColor; font-weight: 600; }
.legend { color: var(--soft); font-size: .9rem; }
.legend span { margin-right: .6rem; font-weight: 600; }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; }
  main { max-width: none; padding: 0; } section, tr, .tiles > div { break-inside: avoid; }
  .wide { overflow: visible; } svg { min-width: 0; }
  h2 { break-after: avoid; } pre { white-space: pre-wrap; } }
"""
