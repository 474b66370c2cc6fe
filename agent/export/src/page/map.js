// The map: proxies on the left, their upstreams on the right, a line for every hop.
const MAP_HOPS = 30; // hops drawn one by one
const MAP_GROUPS = 12; // lines for the rest, one per proxy
const ROW = 30;
const LABEL = 176;
const NODE = { proxy: 150, upstream: 310 };

/** Hops worst first; of equally bad ones each proxy's first, then each proxy's second, and so on. */
function fairOrder(hops) {
  const seen = new Map();
  const turns = [...hops].sort(worstFirst).map((hop) => {
    const kind = `${urgency(hop)} ${hop.proxy}`;
    const turn = (seen.get(kind) ?? 0) + 1;
    seen.set(kind, turn);
    return { hop, turn };
  });
  return turns.sort((a, b) => urgency(a.hop) - urgency(b.hop) || a.turn - b.turn || byPlace(a.hop, b.hop))
    .map(({ hop }) => hop);
}

/** What is drawn: the worst hops one by one, and the rest counted by proxy. */
function mapRows(hops) {
  const fair = fairOrder(hops);
  const single = fair.slice(0, MAP_HOPS).sort(worstFirst).map((hop) => ({
    key: keyOf(hop), proxy: hop.proxy, upstream: hop.upstream, hop,
  }));
  const rest = new Map();
  for (const hop of fair.slice(MAP_HOPS)) {
    const counts = rest.get(hop.proxy) ?? rest.set(hop.proxy, {}).get(hop.proxy);
    counts[hop.security] = (counts[hop.security] ?? 0) + 1;
  }
  const groups = [...rest].sort((a, b) => sum(Object.values(b[1])) - sum(Object.values(a[1])));
  const drawn = groups.slice(0, MAP_GROUPS);
  const others = {};
  for (const [, counts] of groups.slice(MAP_GROUPS)) {
    for (const [word, count] of Object.entries(counts)) others[word] = (others[word] ?? 0) + count;
  }
  if (groups.length > MAP_GROUPS) drawn.push([groups.length - MAP_GROUPS === 1 ? "1 more proxy" : `${groups.length - MAP_GROUPS} more proxies`, others]);
  const grouped = drawn.map(([proxy, counts]) => ({
    key: `rest ${proxy}`, proxy, isProxy: rest.has(proxy), upstream: several(sum(Object.values(counts)), "more upstream"), counts,
  }));
  return { rows: [...single, ...grouped], hidden: Math.max(0, fair.length - MAP_HOPS) };
}

/** Places of proxies and upstreams; an upstream is as high as it has lines. */
function mapLayout(rows, width) {
  const order = [...new Set(rows.map((row) => row.proxy))];
  const place = new Map(order.map((proxy, index) => [proxy, index]));
  const upstreams = new Map();
  for (const row of [...rows].sort((a, b) => place.get(a.proxy) - place.get(b.proxy))) {
    const id = row.counts ? row.key : row.upstream;
    const lines = upstreams.get(id) ?? upstreams.set(id, { id, lines: [] }).get(id);
    lines.lines.push(row);
  }
  let y = 14;
  const sides = new Map(order.map((proxy) => [proxy, []]));
  for (const upstream of upstreams.values()) {
    upstream.y = y;
    upstream.height = upstream.lines.length * ROW - 6;
    for (const [index, row] of upstream.lines.entries()) {
      row.y = y + index * ROW + (ROW - 6) / 2;
      sides.get(row.proxy).push(row);
    }
    y += upstream.lines.length * ROW;
  }
  let free = 14;
  const proxies = order.map((name) => {
    const lines = sides.get(name);
    const middle = sum(lines.map((row) => row.y)) / lines.length;
    const top = Math.max(free, middle - 22);
    free = top + 52;
    return { name, y: top, lines };
  });
  const height = Math.max(y, free) + 8;
  return { proxies, upstreams: [...upstreams.values()], height, right: width - NODE.upstream - 14 };
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The evidence, or why there is none. */
const whyOf = (hop) => (hop.security === "unknown"
  ? hop.last_verdict.reason ?? hop.last_verdict.outcome : hop.evidence);

const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function mapHop(row, proxy, right) {
  const from = [14 + NODE.proxy, proxy.y + 22];
  const to = [right - LABEL - 8, row.y];
  const bend = Math.max(40, (to[0] - from[0]) * 0.5);
  const path = `M${from[0]} ${from[1]} C${from[0] + bend} ${from[1]} ${to[0] - bend} ${to[1]} ${to[0]} ${to[1]}`;
  if (row.counts) return mapRest(row, path, right);
  const { hop } = row;
  const select = () => openDetail(row.key);
  const group = svg("g", {
    class: `hop${store.selected === row.key ? " selected" : ""}`, tabindex: 0, role: "button",
    "data-key": row.key,
    "aria-label": `${hop.proxy} to ${hop.upstream}: ${SECURITY_TEXT[hop.security]}, ${hop.security === "unknown" ? "because" : "evidence"} ${whyOf(hop)}${violationsOf(hop).length > 0 ? ", violates its policy" : ""}`,
  },
  svg("path", { class: `edge ${hop.security}`, d: path }),
  svg("rect", { class: `pill ${hop.security}`, x: right - LABEL - 8, y: row.y - 10, width: LABEL, height: 20, rx: 10 }),
  svg("text", { class: `pill-text ${hop.security}`, x: right - LABEL / 2 - 8, y: row.y + 4, "text-anchor": "middle" },
    (violationsOf(hop).length > 0 ? "⚠ " : "") + short(`${hop.security} · ${whyOf(hop)}`, 25)),
  svg("rect", { class: "node", x: right, y: row.y - (ROW - 6) / 2, width: NODE.upstream, height: ROW - 6, rx: 6 }),
  svg("text", { x: right + 10, y: row.y + 5 }, short(nameOf(hop) ? `${hop.upstream}  ${nameOf(hop)}` : hop.upstream, 43)));
  return asButton(group, select);
}

/** Lets mouse and keyboard press a drawing. */
function asButton(group, press) {
  group.addEventListener("click", press);
  group.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(); }
  });
  return group;
}

/** The rest of a proxy's upstreams: how many, and a bar of what they are. A press filters by it. */
function mapRest(row, path, right) {
  const total = sum(Object.values(row.counts));
  const parts = SECURITY.filter((word) => row.counts[word]);
  const text = parts.map((word) => `${row.counts[word]} ${word}`).join(", ");
  const attributes = row.isProxy
    ? { class: "hop rest", tabindex: 0, role: "button", "data-key": row.key, "aria-label": `Show only ${row.proxy}, which has ${row.upstream}: ${text}` }
    : { class: "rest", role: "img", "aria-label": `${row.proxy}: ${row.upstream}: ${text}` };
  const group = svg("g", attributes,
    svg("path", { class: `edge ${parts[0]}`, d: path, "stroke-opacity": 0.5 }),
    svg("rect", { class: "pill rest", x: right - LABEL - 8, y: row.y - 10, width: LABEL, height: 20, rx: 10 }),
    svg("text", { class: "pill-text soft", x: right - LABEL / 2 - 8, y: row.y + 4, "text-anchor": "middle" }, `${total} more`),
    svg("rect", { class: "node", x: right, y: row.y - (ROW - 6) / 2, width: NODE.upstream, height: ROW - 6, rx: 6, "stroke-dasharray": "4 3" }),
    svg("text", { x: right + 10, y: row.y + 2, class: "soft" }, short(text, 50)));
  let x = right + 10;
  for (const word of parts) {
    const width = (NODE.upstream - 20) * row.counts[word] / total;
    group.append(svg("rect", { class: `share ${word}`, x, y: row.y + 6, width, height: 3 }));
    x += width;
  }
  return row.isProxy ? asButton(group, () => setFilter(row.proxy)) : group;
}

let mapDrawn = "";

function renderMap(hops) {
  const box = byId("map");
  const { rows, hidden } = mapRows(hops);
  const width = Math.max(720, box.clientWidth - 2);
  const state = JSON.stringify([width, store.at === 0, store.hops.size === 0, store.selected, rows.map((row) => [row.key, row.counts, row.hop?.security, row.hop && [nameOf(row.hop), whyOf(row.hop), violationsOf(row.hop).length > 0]])]);
  if (state === mapDrawn) return;
  mapDrawn = state;
  const note = byId("map-note");
  note.hidden = hidden === 0;
  note.textContent = `The ${MAP_HOPS} worst of ${hops.length} hops are drawn one by one, the other ${hidden} are counted by proxy: press such a count, or filter, to see them. The table lists all.`;
  const focused = document.activeElement?.dataset?.key;
  if (rows.length === 0) {
    const none = store.at === 0 ? "Asking the agent …" : "No hops yet: no watched proxy has connected to an upstream.";
    box.replaceChildren(element("p", {}, store.hops.size === 0 ? none : "No hop matches the filter."));
    return;
  }
  const { proxies, height, right } = mapLayout(rows, width);
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Map of proxies and upstreams" });
  for (const proxy of proxies) {
    for (const row of proxy.lines) drawing.append(mapHop(row, proxy, right));
  }
  for (const proxy of proxies) {
    const upstreams = proxy.lines.filter((row) => row.hop).length
      + sum(proxy.lines.filter((row) => row.counts).map((row) => sum(Object.values(row.counts))));
    drawing.append(svg("g", {},
      svg("rect", { class: "node", x: 14, y: proxy.y, width: NODE.proxy, height: 44, rx: 8 }),
      svg("text", { class: "proxy", x: 26, y: proxy.y + 19 }, short(proxy.name, 18)),
      svg("text", { class: "soft", x: 26, y: proxy.y + 36 }, several(upstreams, "upstream"))));
  }
  box.replaceChildren(drawing);
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}
