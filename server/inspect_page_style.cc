// Style and skeleton of the inspection page. Nine steps of depth, from ColorBrewer's YlGnBu on
// light and viridis on dark ground; the picture's states are from Okabe and Ito. All tell apart for
// the colour-blind.
#include "server/inspect_page_parts.h"

namespace skipserve {

const char kInspectStyle[] = R"css(
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1a1f27; --soft: #5c6673; --line: #dfe3e8;
  --d0: #ffffd9; --d1: #edf8b1; --d2: #c7e9b4; --d3: #7fcdbb; --d4: #41b6c4; --d5: #1d91c0; --d6: #225ea8;
  --d7: #253494; --d8: #081d58; --t0: #3b3b1e; --t1: #2d3312; --t2: #12301c; --t3: #06241e; --t4: #001b20; --t5: #fff;
  --t6: #fff; --t7: #fff; --t8: #fff;
  --both: #0072b2; --attention: #e69f00; --ffn: #009e73; --later: #c9ced6; --never: #f1f3f5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12151a; --card: #1b2027; --ink: #e6e9ee; --soft: #98a2b0; --line: #2d343e;
    --d0: #2b0a3d; --d1: #46307e; --d2: #365c8d; --d3: #277f8e; --d4: #1fa187; --d5: #4ac16d; --d6: #9fda3a;
    --d7: #d2e21b; --d8: #fde725; --t0: #cdb9d8; --t1: #e6e0f5; --t2: #fff; --t3: #fff; --t4: #04150f; --t5: #04150f;
    --t6: #131a00; --t7: #1a1c00; --t8: #1f1c00;
    --both: #56b4e9; --attention: #e69f00; --ffn: #1fc296; --later: #4b5563; --never: #20262e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 16px; margin: 0 0 4px; }
.soft { color: var(--soft); font-size: 13.5px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; margin-top: 16px; }
.said { display: grid; grid-template-columns: max-content 1fr; gap: 4px 14px; }
.said dt { color: var(--soft); } .said dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
#answer { font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin-top: 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.tile b { display: block; font-size: 21px; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tile span { color: var(--soft); font-size: 12.5px; display: block; line-height: 1.35; }
.key { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 12px; font-size: 13px; }
.key i { display: inline-block; width: 13px; height: 13px; border-radius: 3px; margin-right: 6px; vertical-align: -2px;
  border: 1px solid var(--line); }
.picture { display: grid; grid-template-columns: 30px minmax(0, 1fr) 96px; column-gap: 8px; font-size: 11.5px;
  color: var(--soft); font-variant-numeric: tabular-nums; }
.picture canvas { width: 100%; display: block; image-rendering: pixelated; cursor: crosshair; border-radius: 2px; }
.ylabels, .xlabels, .bars { position: relative; }
.ylabels span { position: absolute; right: 0; transform: translateY(-50%); }
.xlabels { height: 20px; } .xlabels span { position: absolute; top: 3px; transform: translateX(-50%); white-space: nowrap; }
.xlabels span:first-child { transform: none; }
.bars div { position: absolute; left: 0; right: 0; }
.bars i { position: absolute; left: 0; top: 1px; bottom: 1px; border-radius: 1px; }
.head { align-self: end; padding-bottom: 3px; white-space: nowrap; }
.head:first-child { direction: rtl; }
#readout { min-height: 21px; font-size: 13px; margin-top: 6px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.sticky { position: sticky; top: 0; z-index: 2; background: var(--card); padding: 8px 0 6px; border-bottom: 1px solid var(--line); }
.histogram { display: flex; align-items: flex-end; gap: 2px; height: 62px; margin-top: 4px; }
.histogram button { flex: 1 1 0; min-width: 0; max-width: 40px; height: 100%; padding: 0; border: 0; background: none;
  color: var(--soft); cursor: pointer; display: flex; flex-direction: column; justify-content: flex-end;
  font: 10.5px/1.2 inherit; font-variant-numeric: tabular-nums; }
.histogram i { display: block; border-radius: 2px 2px 0 0; border: 1px solid rgba(128,128,128,.35); min-height: 3px; }
.histogram button span { padding-top: 2px; font-size: 10.5px; text-align: center; }
.histogram button.on span { color: var(--ink); font-weight: 700; }
#text { margin-top: 10px; font: 13.5px/1.75 ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
#text div { white-space: pre-wrap; content-visibility: auto; contain-intrinsic-size: auto 160px; }
#text span { padding: 2px 0; }
#text span:hover { outline: 2px solid var(--ink); outline-offset: 0; border-radius: 2px; }
#text .special { border: 1px solid currentColor; border-radius: 4px; padding: 0 3px; margin: 0 1px; font-size: 12px; }
#text .part { padding: 2px 1px; margin: 0 .5px; }
#text span.found { outline: 3px solid var(--attention); }
.c0 { background: var(--d0); color: var(--t0); } .c1 { background: var(--d1); color: var(--t1); }
.c2 { background: var(--d2); color: var(--t2); } .c3 { background: var(--d3); color: var(--t3); }
.c4 { background: var(--d4); color: var(--t4); } .c5 { background: var(--d5); color: var(--t5); }
.c6 { background: var(--d6); color: var(--t6); } .c7 { background: var(--d7); color: var(--t7); }
.c8 { background: var(--d8); color: var(--t8); }
#tip { position: fixed; z-index: 9; max-width: 380px; background: var(--card); color: var(--ink); border: 1px solid var(--line);
  border-radius: 8px; padding: 9px 12px; font-size: 13px; line-height: 1.45; pointer-events: none;
  box-shadow: 0 6px 24px rgba(0,0,0,.22); }
#tip[hidden] { display: none; }
#tip b { font-family: ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
#tip .strip { display: flex; gap: 1px; margin: 6px 0 4px; } #tip .strip div { flex: 1; }
#tip .strip i { display: block; height: 9px; background: var(--never); } #tip .strip i + i { margin-top: 1px; }
)css";

const char kInspectBody[] = R"html(<main>
<h1>How deep each token was computed</h1>
<div class="soft" id="subject"></div>
<noscript><p class="card">This page draws itself with a script that is part of it; please allow scripts.</p></noscript>
<section class="card"><dl class="said">
<dt>Document</dt><dd id="document"></dd><dt>Question</dt><dd id="question"></dd><dt>Answer</dt><dd id="answer"></dd>
</dl></section>
<section class="tiles" id="tiles"></section>
<section class="card">
<h2>Layer by layer</h2>
<div class="soft" id="picture-note"></div>
<div class="key" id="states"></div>
<div class="picture">
<div class="head">layer</div><div></div><div class="head">tokens computed</div>
<div class="ylabels" id="ylabels"></div><canvas id="picture"></canvas><div class="bars" id="bars"></div>
<div></div><div class="xlabels" id="xlabels"></div><div></div>
</div>
<div class="soft" id="readout">Point at the picture for details; click to go to the text.</div>
</section>
<section class="card">
<div class="sticky"><h2>The prompt</h2>
<div class="soft" id="text-note"></div><div class="histogram" id="histogram"></div></div>
<div id="text"></div>
</section>
<div id="tip" hidden></div>
</main>
)html";

}  // namespace skipserve
