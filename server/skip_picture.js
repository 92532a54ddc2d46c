// What both pages share: small helpers, what a request cost, and the picture of what was computed. Whatever comes from a
// document or a model is set as text, never as markup.
'use strict';
const darkScheme = matchMedia('(prefers-color-scheme: dark)');
const byId = id => document.getElementById(id);
const number = n => n.toLocaleString('en-US');
const percent = x => (100 * x).toFixed(1) + ' %';
const time = s => s < 0.9995 ? (1000 * s).toFixed(1) + ' ms' : s.toFixed(2) + ' s';
function make(tag, parent, text, name) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (name) e.className = name;
  if (parent) parent.append(e);
  return e;
}
// Control characters, and those that turn the direction of text, are shown and do nothing.
const visible = s => s.replace(/[\u0000-\u0008\u000b-\u001f]/g, c => String.fromCharCode(0x2400 + c.charCodeAt(0)))
  .replace(/\u007f/g, '\u2421')
  .replace(/[\u0080-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
           c => '\u27e8U+' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0') + '\u27e9');

// Pairs of a value and what it is, in place of what was there.
function showTiles(parent, pairs) {
  parent.textContent = '';
  for (const [value, label] of pairs) {
    const tile = make('div', parent, undefined, 'tile');
    make('b', tile, value);
    make('span', tile, label);
  }
}

// What a request cost, by its answer's "skip" and "timings".
function costTiles(prompt, cached, completion, skip, timings) {
  const gap = timings.inter_token_mean_seconds;
  return [
    [time(timings.ttft_seconds), 'to the first token (trunk ' + time(timings.trunk_seconds) + ', skipping ' + time(timings.skipping_seconds) + ')'],
    [gap ? (1 / gap).toFixed(1) : '\u2013',
     'tokens per second, ' + completion + ' in all' + (gap ? '; longest gap ' + time(timings.inter_token_max_seconds) : '')],
    [number(prompt), 'prompt tokens' + (cached ? ', ' + number(cached) + ' of them from the prefix cache' : '')],
    [skip.level, 'skip level' + (skip.reason ? ': ' + skip.reason : skip.policy_fingerprint ? ', policy ' + skip.policy_fingerprint : '')],
    skip.expected_agreement === undefined ? ['\u2013', 'agreement with dense: not measured']
      : [percent(skip.expected_agreement), 'of greedy tokens as dense, expected (KL ' + skip.expected_kl.toFixed(4) + ' nats)'],
    [skip.flop_bound.toFixed(2) + 'x', 'less work than dense, by FLOPs: ' + percent(skip.skip_ratio) + ' skipped'],
    [percent(skip.attention_skip_ratio), 'of token-layers without attention, ' + percent(skip.ffn_skip_ratio) + ' without FFN'],
    [percent(skip.kv_token_layers / skip.token_layers), 'of the KV cached: ' + number(skip.kv_token_layers) + ' token-layers'],
  ];
}

// Draws a prompt of `ids` with their `texts`, in place of the one before. `attention` and `ffn` have for each layer one
// byte a token, 1 where it was computed; `candidates` has how many tokens each layer chose from.
function drawSkipPicture({ids, texts, special, candidates, attention, ffn}) {
  const tokens = ids.length, layers = attention.length, spans = [];
  for (const id of ['states', 'ylabels', 'xlabels', 'bars', 'histogram', 'text']) byId(id).textContent = '';
  byId('readout').textContent = 'Point at the picture for details; click to go to the text.';
  const depth = new Int32Array(tokens), last = new Int32Array(tokens).fill(-1);
  for (let l = 0; l < layers; l++) for (let p = 0; p < tokens; p++) {
    depth[p] += attention[l][p];
    if (attention[l][p] || ffn[l][p]) last[p] = l;
  }
  const lowest = depth.reduce((a, b) => Math.min(a, b), layers), uniform = lowest === layers;
  const shade = d => uniform ? 8 : Math.round(8 * (d - lowest) / (layers - lowest));

  // --- the picture: a pixel is a layer and one token, or some neighbours whose states are mixed
  const states = [['both', 'attention and FFN'], ['attention', 'attention only'], ['ffn', 'FFN only'],
                  ['later', 'passed over, computed again deeper'], ['never', 'not computed from here on']];
  for (const [name, label] of states) {
    const item = make('span', byId('states'));
    make('i', item).style.background = 'var(--' + name + ')';
    item.append(label);
  }
  function state(l, p) {
    if (attention[l][p]) return ffn[l][p] ? 0 : 1;
    return ffn[l][p] ? 2 : last[p] > l ? 3 : 4;
  }
  const columns = Math.min(tokens, 1000), begin = c => Math.floor(c * tokens / columns);
  const rowHeight = Math.max(6, Math.min(14, Math.floor(420 / layers)));
  const canvas = byId('picture');
  canvas.width = columns; canvas.height = layers;
  canvas.style.height = layers * rowHeight + 'px';
  function counts(l, c) {
    const n = [0, 0, 0, 0, 0];
    for (let p = begin(c); p < begin(c + 1); p++) n[state(l, p)]++;
    return n;
  }
  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colours = states.map(([name]) => {
      const hex = style.getPropertyValue('--' + name).trim();
      return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
    });
    const context = canvas.getContext('2d'), image = context.createImageData(columns, layers);
    for (let l = 0; l < layers; l++) for (let c = 0; c < columns; c++) {
      const n = counts(l, c), size = begin(c + 1) - begin(c), at = 4 * (l * columns + c);
      for (let k = 0; k < 3; k++) image.data[at + k] = n.reduce((sum, x, s) => sum + x * colours[s][k], 0) / size;
      image.data[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }
  draw();
  darkScheme.onchange = draw;
  const perColumn = tokens / columns;
  byId('picture-note').textContent = 'Across: position in the prompt, in tokens. Down: from the first layer to the last.' +
    (perColumn > 1 ? ' A column mixes the colours of ' + (Number.isInteger(perColumn) ? perColumn : 'about ' + perColumn.toFixed(1)) + ' tokens.' : '');
  const tickLayers = layers <= 12 ? 1 : layers <= 40 ? 5 : 10;
  for (let l = 0; l < layers; l += tickLayers) make('span', byId('ylabels'), l).style.top = (l + .5) * rowHeight + 'px';
  const power = 10 ** Math.floor(Math.log10(Math.max(tokens, 10) / 5)), ticks = canvas.clientWidth < 500 ? 5 : 9;
  const tickTokens = [1, 2, 5, 10, 20].map(x => x * power).find(step => tokens / step <= ticks);
  for (let p = 0; p < tokens; p += tickTokens) make('span', byId('xlabels'), number(p)).style.left = 100 * p / tokens + '%';
  for (let l = 0; l < layers; l++) {
    const bar = make('div', byId('bars')), active = attention[l].reduce((a, b) => a + b, 0);
    bar.style.top = l * rowHeight + 'px'; bar.style.height = rowHeight + 'px';
    for (const [n, colour] of [[candidates[l] ?? tokens, 'later'], [active, 'both']]) {
      const i = make('i', bar);
      i.style.width = 100 * n / tokens + '%'; i.style.background = 'var(--' + colour + ')';
    }
    bar.title = 'layer ' + l + ': ' + number(active) + ' of ' + number(candidates[l] ?? tokens) + ' candidates';
  }
  const clamp = (x, n) => Math.max(0, Math.min(n - 1, Math.floor(x)));
  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [clamp((event.clientY - box.top) / box.height * layers, layers),
            clamp((event.clientX - box.left) / box.width * columns, columns)];
  }
  function read([l, c]) {
    const n = counts(l, c), first = begin(c), end = begin(c + 1);
    byId('readout').textContent = 'layer ' + l + ', token' + (end - first > 1 ? 's ' + number(first) + '\u2013' + number(end - 1) : ' ' + number(first)) +
      ': ' + states.map(([, label], s) => n[s] ? (end - first > 1 ? n[s] + ' ' : '') + label : '').filter(Boolean).join(', ') +
      ' \u00b7 \u201c' + visible(texts.slice(first, end).join('')).replace(/\s+/g, ' ') + '\u201d';
  }
  function find([, c]) {
    const span = spans[begin(c)];
    span.scrollIntoView({block: 'center'});
    span.classList.add('found');
    setTimeout(() => span.classList.remove('found'), 2500);
  }
  let at = [0, 0];
  const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [0, -50], PageDown: [0, 50]};
  canvas.onmousemove = event => read(at = place(event));
  canvas.onclick = event => find(place(event));
  canvas.onkeydown = event => {
    if (event.key === 'Enter') find(at);
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    read(at = [clamp(at[0] + move[0], layers), clamp(at[1] + move[1], columns)]);
  };

  // --- the text; in blocks that end at line breaks, so that a browser lays out only what is seen
  const isSpecial = new Set(special), fragment = document.createDocumentFragment();
  let block = make('div', fragment), inBlock = 0;
  for (let p = 0; p < tokens; p++) {
    const text = texts[p], span = make('span', block, visible(text), 'c' + shade(depth[p]));
    if (isSpecial.has(p)) span.classList.add('special');
    if (text === '') span.classList.add('part');
    span.dataset.p = p;
    spans.push(span);
    if (++inBlock >= 150 && text.endsWith('\n') && p + 1 < tokens) { block = make('div', fragment); inBlock = 0; }
  }
  byId('text').append(fragment);
  byId('text').classList.remove('only');
  byId('text-note').textContent = uniform ? 'Read densely: all ' + layers + ' layers computed every token.'
    : 'Colour: in how many of the ' + layers + ' layers attention computed the token. Click a bar to single out its tokens.';
  const histogram = new Int32Array(layers + 1);
  for (const d of depth) histogram[d]++;
  const most = Math.max(...histogram);
  let chosen = -1;
  for (let d = lowest; d <= layers; d++) {
    const button = make('button', byId('histogram')), bar = make('i', button, undefined, 'c' + shade(d));
    button.type = 'button';
    bar.style.height = histogram[d] ? Math.max(6, 100 * Math.sqrt(histogram[d] / most)) * .42 + 'px' : '0';
    if (!histogram[d]) { bar.style.minHeight = '0'; bar.style.border = '0'; }
    make('span', button, d);
    button.title = number(histogram[d]) + ' tokens in ' + d + ' layers (' + percent(histogram[d] / tokens) + '); heights are square roots';
    button.onclick = () => {
      chosen = chosen === d ? -1 : d;
      for (const b of byId('histogram').children) b.classList.toggle('on', chosen >= 0 && b === button);
      byId('text').classList.toggle('only', chosen >= 0);
      for (let p = 0; p < tokens; p++) spans[p].classList.toggle('on', depth[p] === chosen);
    };
  }

  // --- hovering over a token
  const ranges = rows => {
    const list = [];
    for (let l = 0; l < layers; l++) {
      if (!rows(l)) continue;
      const first = l;
      while (l + 1 < layers && rows(l + 1)) l++;
      list.push(first === l ? String(l) : first + '\u2013' + l);
    }
    return list.join(', ') || 'none';
  };
  const tip = byId('tip');
  tip.hidden = true;
  byId('text').onmouseover = event => {
    const p = event.target.dataset.p;
    if (p === undefined) { tip.hidden = true; return; }
    tip.textContent = '';
    make('b', tip, texts[p] === '' ? '(part of a character)' : JSON.stringify(visible(texts[p])));
    make('div', tip, 'token ' + ids[p] + ' at position ' + number(+p) + (isSpecial.has(+p) ? ', special' : ''), 'soft');
    const strip = make('div', tip, undefined, 'strip');
    let total = 0;
    for (let l = 0; l < layers; l++) {
      const cell = make('div', strip);
      for (const [rows, colour] of [[attention, 'both'], [ffn, 'ffn']]) {
        const i = make('i', cell);
        if (rows[l][p]) i.style.background = 'var(--' + colour + ')';
      }
      total += ffn[l][p];
    }
    make('div', tip, 'attention in ' + depth[p] + ' of ' + layers + ' layers: ' + ranges(l => attention[l][p]));
    make('div', tip, 'FFN in ' + total + ': ' + ranges(l => ffn[l][p]));
    tip.hidden = false;
    const box = event.target.getBoundingClientRect(), below = box.bottom + tip.offsetHeight + 14 < innerHeight;
    tip.style.left = Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 12)) + 'px';
    tip.style.top = (below ? box.bottom + 8 : box.top - tip.offsetHeight - 8) + 'px';
  };
  byId('text').onmouseleave = () => { tip.hidden = true; };
}
addEventListener('scroll', () => { byId('tip').hidden = true; }, {capture: true, passive: true});  // of the text's own too
