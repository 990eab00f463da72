// The status page: a query box and graphs of the server's own metrics. No libraries, no other hosts.
// Everything from the server is put in as text, never as markup.
'use strict';

const COLORS = 8;
const SERIES_DRAWN = 40;
const ROWS_SHOWN = 1000;
const REFRESH_MS = 15000;
const OWN_TENANT = 'engram'; // whose the self-scraped metrics are where tenants are told apart

const PANELS = [
  { title: 'Samples ingested', unit: '/s', expr: 'sum(rate(engram_distributor_received_samples_total[1m]))' },
  { title: 'Series in the head', unit: '', expr: 'sum(engram_ingester_head_series)' },
  { title: 'Memory', unit: 'B', expr: 'engram_process_anonymous_memory_bytes', more: 'engram_memory_budget_bytes' },
  { title: 'Memory by purpose', unit: 'B', expr: 'sum by (purpose) (engram_memory_charged_bytes)' },
  { title: 'Queries', unit: '/s', expr: 'sum by (route) (rate(engram_http_requests_total{route=~"query|query_range|labels|label_values|series"}[1m]))' },
  { title: 'Query time, mean', unit: 's', expr: 'sum by (route) (rate(engram_http_request_seconds_sum{route=~"query|query_range"}[2m])) / sum by (route) (rate(engram_http_request_seconds_count{route=~"query|query_range"}[2m]))' },
  { title: 'Log sync, mean', unit: 's', expr: 'rate(engram_wal_fsync_seconds_sum[2m]) / rate(engram_wal_fsync_seconds_count[2m])' },
  { title: 'CPU', unit: 'cores', expr: 'rate(process_cpu_seconds_total[1m])' },
  { title: 'Requests refused or failed', unit: '/s', expr: 'sum by (code) (rate(engram_http_requests_total{code=~"4..|5..|other"}[1m]))', none: 'none in this range' },
];

const $ = (id) => document.getElementById(id);

function make(tag, attributes, ...children) {
  const svg = ['svg', 'g', 'path', 'line', 'text', 'circle', 'rect'].includes(tag);
  const e = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

// --- numbers ---

function short(v, unit) {
  if (v === null || Number.isNaN(v)) return 'NaN';
  if (!Number.isFinite(v)) return v > 0 ? '+Inf' : '-Inf';
  const a = Math.abs(v);
  if (unit === 'B') {
    const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    let i = 0, x = v;
    while (Math.abs(x) >= 1024 && i < steps.length - 1) { x /= 1024; i++; }
    return `${trim(x)} ${steps[i]}`;
  }
  if (unit === 's') {
    if (a >= 1 || a === 0) return `${trim(v)} s`;
    if (a >= 1e-3) return `${trim(v * 1e3)} ms`;
    return `${trim(v * 1e6)} µs`;
  }
  let text;
  if (a >= 1e15 || (a < 1e-4 && a > 0)) text = v.toExponential(2);
  else if (a >= 1e9) text = trim(v / 1e9) + ' G';
  else if (a >= 1e6) text = trim(v / 1e6) + ' M';
  else if (a >= 1e4) text = trim(v / 1e3) + ' k';
  else text = trim(v);
  return unit ? `${text} ${unit}`.replace(' /', '/') : text;
}

function trim(v) {
  const a = Math.abs(v);
  const digits = a >= 100 ? 0 : a >= 10 ? 1 : a >= 1 ? 2 : 4;
  return String(Number(v.toFixed(digits)));
}

// About n round numbers that cover [low, high].
function ticks(low, high, n) {
  const raw = (high - low) / n;
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * base).find((s) => s >= raw) || raw;
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && out.length < 50; i++) out.push(i * step);
  return out;
}

function clock(t, span) {
  const d = new Date(t * 1000);
  const two = (n) => String(n).padStart(2, '0');
  const time = `${two(d.getHours())}:${two(d.getMinutes())}`;
  const day = `${d.getMonth() + 1}/${d.getDate()}`;
  if (span > 3 * 86400) return day;
  return span > 86400 / 2 ? `${day} ${time}` : span <= 300 ? `${time}:${two(d.getSeconds())}` : time;
}

function nameOf(metric) {
  const labels = Object.entries(metric).filter(([k]) => k !== '__name__')
    .map(([k, v]) => `${/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(k) ? k : JSON.stringify(k)}=${JSON.stringify(v)}`).join(', ');
  const name = metric.__name__ || '';
  return labels ? `${name}{${labels}}` : name || '{}';
}

// --- the server ---

async function api(path, parameters, tenant, signal) {
  const reply = await fetch(`/api/v1/${path}`, {
    method: 'POST', body: new URLSearchParams(parameters), signal, headers: tenant ? { 'X-Scope-OrgID': tenant } : {},
  });
  const text = await reply.text();
  let json = null;
  try { json = JSON.parse(text); } catch { /* plain text: an error before the API */ }
  if (!json || json.status !== 'success') throw new Error((json && json.error) || text.trim() || `status ${reply.status}`);
  json.cache = reply.headers.get('X-Engram-Cache');
  return json;
}

function grid(seconds) {
  const step = Math.max(5, Math.ceil(seconds / 240 / 5) * 5);
  const end = Math.floor(Date.now() / 1000 / step) * step; // the same steps again: the cache can answer
  return { start: end - seconds, end, step };
}

function seriesOf(data) {
  return data.result.map((r) => ({
    name: nameOf(r.metric),
    short: Object.keys(r.metric).length === 1 && !r.metric.__name__ ? Object.values(r.metric)[0] : nameOf(r.metric),
    points: (r.values || []).map(([t, v]) => [t, Number(v.replace('Inf', 'Infinity'))]),
    histograms: (r.histograms || []).length,
  }));
}

// --- a chart: lines over time, gaps where steps are missing ---

function paths(points, step, x, y, bottom) {
  let line = '', area = '', from = null, last = null;
  const close = () => { if (from !== null) area += `L${x(last)} ${bottom}L${x(from)} ${bottom}Z`; from = null; };
  for (const [t, v] of points) {
    if (!Number.isFinite(v)) { close(); last = null; continue; }
    const at = `${x(t)} ${y(v)}`;
    if (last === null || t - last > step * 1.5) { close(); line += `M${at}`; area += `M${at}`; from = t; }
    else { line += `L${at}`; area += `L${at}`; }
    last = t;
  }
  close();
  return [line, area];
}

function chart(series, g, unit, width, height) {
  const left = 58, right = 8, top = 8, bottom = height - 20;
  let low = Infinity, high = -Infinity;
  for (const s of series) for (const [, v] of s.points) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low === Infinity) return make('div', { class: 'empty' }, 'no data in this range');
  if (low > 0 && low < high * 0.75 + 1e-300) low = 0;
  if (high === low) { high += Math.abs(high) || 1; if (low > 0) low = 0; }
  const scale = unit === 'B' && high >= 1024 ? 1024 ** Math.floor(Math.log(high) / Math.log(1024)) : 1;
  const marks = ticks(low / scale, high / scale, 4).map((m) => m * scale);
  high = Math.max(high, marks[marks.length - 1]);
  const round = (v) => Math.round(v * 10) / 10;
  const x = (t) => round(left + (t - g.start) / (g.end - g.start || 1) * (width - left - right));
  const y = (v) => round(bottom - (v - low) / (high - low) * (bottom - top));
  const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${series.length} series` });
  for (const m of marks) {
    svg.append(make('line', { class: 'grid', x1: left, x2: width - right, y1: y(m), y2: y(m) }));
    svg.append(make('text', { class: 'axis', x: left - 6, y: y(m) + 4, 'text-anchor': 'end' }, short(m, unit === 'B' || unit === 's' ? unit : '')));
  }
  const columns = Math.max(2, Math.floor(width / 130));
  for (let i = 0; i <= columns; i++) {
    const t = g.start + (g.end - g.start) * i / columns;
    svg.append(make('text', { class: 'axis', x: x(t), y: height - 4, 'text-anchor': i === 0 ? 'start' : i === columns ? 'end' : 'middle' }, clock(t, g.end - g.start)));
  }
  series.forEach((s, i) => {
    const [line, area] = paths(s.points, g.step, x, y, bottom);
    if (series.length === 1) svg.append(make('path', { class: `area s${i % COLORS}`, d: area }));
    svg.append(make('path', { class: `line s${i % COLORS}`, d: line }));
    if (s.points.length === 1) svg.append(make('circle', { class: `dot s${i % COLORS}`, cx: x(s.points[0][0]), cy: y(s.points[0][1]), r: 3 }));
  });
  const box = make('div', { class: 'chart' }, svg);
  hover(box, svg, series, g, unit, { left, right, width, top, bottom, x, y });
  return box;
}

function nearest(points, t, step) {
  let a = 0, b = points.length - 1;
  while (a < b) { const m = (a + b) >> 1; if (points[m][0] < t) a = m + 1; else b = m; }
  const best = [points[a - 1], points[a]].filter(Boolean).sort((p, q) => Math.abs(p[0] - t) - Math.abs(q[0] - t))[0];
  return best && Math.abs(best[0] - t) <= step ? best : null;
}

function hover(box, svg, series, g, unit, d) {
  let marks = [];
  const clear = () => { marks.forEach((m) => m.remove()); marks = []; };
  svg.addEventListener('pointerleave', clear);
  svg.addEventListener('pointermove', (e) => {
    clear();
    const r = svg.getBoundingClientRect();
    const at = (e.clientX - r.left) / r.width * d.width;
    if (at < d.left || at > d.width - d.right) return;
    const t = Math.round((g.start + (at - d.left) / (d.width - d.left - d.right) * (g.end - g.start)) / g.step) * g.step;
    const here = series.map((s, i) => ({ s, i, p: nearest(s.points, t, g.step) })).filter((h) => h.p);
    if (!here.length) return;
    const cross = make('line', { class: 'cross', x1: d.x(t), x2: d.x(t), y1: d.top, y2: d.bottom });
    const tip = make('div', { class: `tip ${at > d.width / 2 ? 'left' : 'right'}` }, make('div', {}, new Date(t * 1000).toLocaleString()));
    svg.append(cross);
    marks.push(cross, tip);
    here.sort((a, b) => b.p[1] - a.p[1]).slice(0, 12).forEach((h) => {
      tip.append(make('div', { class: `key s${h.i % COLORS}` }, make('span', { class: 'name' }, `${short(h.p[1], unit)}  ${series.length > 1 ? h.s.short : ''}`)));
      if (Number.isFinite(h.p[1])) {
        const dot = make('circle', { class: `dot s${h.i % COLORS}`, cx: d.x(h.p[0]), cy: d.y(h.p[1]), r: 3 });
        svg.append(dot);
        marks.push(dot);
      }
    });
    if (here.length > 12) tip.append(make('div', {}, `and ${here.length - 12} more`));
    box.append(tip);
  });
}

function legend(series) {
  const list = make('ul', { class: 'legend' });
  series.slice(0, SERIES_DRAWN).forEach((s, i) => list.append(make('li', { class: `key s${i % COLORS}`, title: s.name }, make('span', { class: 'name' }, s.short))));
  return list;
}

// --- panels ---

const panels = PANELS.map((p) => {
  const now = make('div', { class: 'now' }, '–');
  const body = make('div', { class: 'empty' }, 'waiting for the first samples');
  return { ...p, now, body, card: make('section', { class: 'card panel' }, make('h3', {}, p.title), now, body) };
});

async function refreshPanel(p) {
  const g = grid(Number($('range').value));
  const replies = await Promise.all([p.expr, p.more].filter(Boolean).map((query) => api('query_range', { query, ...g }, OWN_TENANT)));
  const series = replies.flatMap((r) => seriesOf(r.data)).filter((s) => s.points.length);
  const total = replies.length > 1 ? series.slice(0, 1) : series;
  const last = total.map((s) => s.points[s.points.length - 1]).filter(([t]) => g.end - t < g.step * 3).map(([, v]) => v).filter(Number.isFinite);
  const sum = p.unit === 's' ? Math.max(...last) : last.reduce((a, b) => a + b, 0);
  p.now.replaceChildren(last.length ? short(sum, p.unit) : '–');
  if (replies.length > 1 && series.length > 1) p.now.append(make('small', {}, `of ${short(series[1].points[series[1].points.length - 1][1], p.unit)}`));
  const drawn = replies.length > 1 ? total : series;
  const body = drawn.length ? make('div', {}, chart(drawn, g, p.unit, 420, 150)) : make('div', { class: 'empty' }, p.none || 'no data in this range');
  if (drawn.length > 1) body.append(legend(drawn));
  p.body.replaceWith(body);
  p.body = body;
}

function failed(p, error) {
  const body = make('div', { class: 'empty' }, String(error.message || error));
  p.now.replaceChildren('–');
  p.body.replaceWith(body);
  p.body = body;
}

async function refresh() {
  if (document.hidden) return;
  await Promise.all([ready(), ...panels.map((p) => refreshPanel(p).catch((e) => failed(p, e)))]);
}

async function ready() {
  const e = $('ready');
  try {
    const reply = await fetch('/ready');
    e.textContent = (await reply.text()).trim();
    e.className = `ready ${reply.ok ? 'yes' : 'no'}`;
  } catch {
    e.textContent = 'not reachable';
    e.className = 'ready no';
  }
}

// --- the query box ---

let running = null, mode = 'graph';

function table(data, g) {
  const body = make('tbody');
  const put = (metric, value, when) => body.append(make('tr', {}, make('td', { class: 'metric' }, metric), make('td', { class: 'value' }, value), make('td', { class: 'value' }, when)));
  const time = (t) => new Date(t * 1000).toLocaleString();
  if (data.resultType === 'scalar' || data.resultType === 'string') put(data.resultType, data.result[1], time(data.result[0]));
  else {
    for (const r of data.result.slice(0, ROWS_SHOWN)) {
      const point = r.value || r.histogram || (r.values || r.histograms || []).slice(-1)[0];
      if (!point) continue;
      const h = typeof point[1] === 'object' ? point[1] : null;
      const many = r.values ? ` (${r.values.length} points)` : '';
      put(nameOf(r.metric), h ? `histogram: count ${h.count}, sum ${h.sum}` : point[1] + many, time(point[0]));
    }
  }
  if (!body.children.length) return make('div', { class: 'empty' }, 'an empty answer');
  const heads = ['series', 'value', 'time'].map((h) => make('th', {}, h));
  const all = make('div', { class: 'scroll' }, make('table', {}, make('thead', {}, make('tr', {}, ...heads)), body));
  if (data.result.length > ROWS_SHOWN) all.append(make('div', { class: 'empty' }, `${ROWS_SHOWN} of ${data.result.length} series are shown`));
  return all;
}

function graph(data, g) {
  const all = seriesOf(data), series = all.filter((s) => s.points.length);
  if (!series.length) return make('div', { class: 'empty' }, all.some((s) => s.histograms) ? 'only histograms: see the table' : 'an empty answer');
  const drawn = series.slice(0, SERIES_DRAWN);
  const body = make('div', {}, chart(drawn, g, '', 1200, 340), legend(drawn));
  if (series.length > SERIES_DRAWN) body.append(make('div', { class: 'empty' }, `${SERIES_DRAWN} of ${series.length} series are drawn`));
  return body;
}

function showNotes(reply) {
  const notes = [...(reply.warnings || []), ...(reply.infos || [])];
  $('notes').replaceChildren(...notes.map((n) => make('li', {}, n)));
  $('notes').hidden = !notes.length;
}

async function run() {
  const query = $('expr').value.trim();
  if (running) running.abort();
  if (!query) return;
  const mine = running = new AbortController();
  const g = grid(Number($('range').value)), tenant = $('tenant').value.trim() || OWN_TENANT, began = performance.now();
  history.replaceState(null, '', `#${new URLSearchParams({ q: query, mode })}`);
  $('facts').textContent = 'asking…';
  try {
    const reply = mode === 'graph' ? await api('query_range', { query, ...g }, tenant, mine.signal)
      : await api('query', { query, time: Date.now() / 1000 }, tenant, mine.signal);
    $('error').hidden = true;
    showNotes(reply);
    $('result').replaceChildren(mode === 'graph' ? graph(reply.data, g) : table(reply.data, g));
    const n = Array.isArray(reply.data.result) && reply.data.resultType.match(/vector|matrix/) ? `${reply.data.result.length} series, ` : '';
    $('facts').textContent = `${n}${Math.round(performance.now() - began)} ms${reply.cache ? `, cache ${reply.cache}` : ''}`;
  } catch (e) {
    if (e.name === 'AbortError') return;
    $('error').textContent = e.message;
    $('error').hidden = false;
    $('notes').hidden = true;
    $('facts').textContent = '';
    $('result').replaceChildren();
  } finally {
    if (running === mine) running = null;
  }
}

function setMode(next) {
  mode = next;
  for (const m of ['graph', 'table']) $(`tab-${m}`).setAttribute('aria-selected', String(m === mode));
  run();
}

// --- theme, and what this browser remembers ---

const store = {
  get(k) { try { return localStorage.getItem(`engram.${k}`); } catch { return null; } },
  set(k, v) { try { localStorage.setItem(`engram.${k}`, v); } catch { /* private mode: not remembered */ } },
};
const systemDark = window.matchMedia('(prefers-color-scheme: dark)');

function theme() {
  const chosen = store.get('theme') || 'system';
  document.documentElement.dataset.theme = chosen === 'system' ? (systemDark.matches ? 'dark' : 'light') : chosen;
  $('theme').textContent = `theme: ${chosen}`;
}

function begin() {
  const asked = new URLSearchParams(location.hash.slice(1));
  theme();
  systemDark.addEventListener('change', theme);
  $('theme').addEventListener('click', () => {
    const all = ['system', 'light', 'dark'];
    store.set('theme', all[(all.indexOf(store.get('theme') || 'system') + 1) % all.length]);
    theme();
  });
  $('tenant').value = store.get('tenant') || '';
  $('tenant').addEventListener('change', () => { store.set('tenant', $('tenant').value.trim()); run(); });
  $('range').value = store.get('range') || '900';
  if (!$('range').value) $('range').value = '900';
  $('range').addEventListener('change', () => { store.set('range', $('range').value); refresh(); run(); });
  $('panels').append(...panels.map((p) => p.card));
  $('form').addEventListener('submit', (e) => { e.preventDefault(); run(); });
  $('expr').addEventListener('keydown', (e) => { if (e.key === 'Enter' && !e.shiftKey) { e.preventDefault(); run(); } });
  $('tab-graph').addEventListener('click', () => setMode('graph'));
  $('tab-table').addEventListener('click', () => setMode('table'));
  $('expr').value = asked.get('q') || '';
  setMode(asked.get('mode') === 'table' ? 'table' : 'graph');
  document.addEventListener('visibilitychange', refresh);
  setInterval(refresh, REFRESH_MS);
  refresh();
}

begin();
