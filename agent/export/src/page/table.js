// The table of hops: filter, sort, a page at a time.
const COLUMNS = [
  { id: "proxy", name: "Proxy", value: (hop) => hop.proxy },
  { id: "upstream", name: "Upstream", value: (hop) => hop.upstream },
  { id: "name", name: "Name", value: (hop) => nameOf(hop) ?? "–" },
  { id: "security", name: "Security", value: securityOf, order: urgency, badge: true },
  { id: "client_auth", name: "Client auth", value: (hop) => (notWorking(hop) ?? hop).client_auth },
  { id: "evidence", name: "Evidence", value: (hop) => (notWorking(hop) ?? hop).evidence },
  { id: "verified", name: "Verified", value: (hop) => hop.server_verified, bad: (hop) => hop.server_verified === "no" },
  { id: "version", name: "Version", value: (hop) => hop.tls_version ?? hop.protocol ?? "–" },
  { id: "policy", name: "Policy", value: (hop) => hop.compliance?.status ?? "–", bad: (hop) => violationsOf(hop).length > 0 },
  {
    id: "expires", name: "Expires", number: true, bad: endsSoon,
    value: (hop) => { const first = firstToEnd(hop); return first ? until(first.not_after) : "–"; },
    order: (hop) => firstToEnd(hop)?.not_after ?? Infinity,
  },
  { id: "connections", name: "Connections", value: (hop) => connections(hop), number: true },
  { id: "failed", name: "Failed", value: (hop) => failed(hop), number: true, bad: (hop) => failed(hop) > 0 },
  { id: "last", name: "Last seen", value: (hop) => `${age(agentNow() - hop.last_seen)} ago`, order: (hop) => -hop.last_seen },
];

function renderHeadings() {
  byId("headings").replaceChildren(...COLUMNS.map((column) => {
    const active = store.sort.column === column.id;
    const direction = active ? (store.sort.down ? "descending" : "ascending") : "none";
    const mark = active ? (store.sort.down ? " ▼" : " ▲") : "";
    const sort = () => {
      store.sort = { column: column.id, down: active && !store.sort.down };
      renderHeadings();
      render();
      byId("headings").querySelector(`[data-column="${column.id}"]`).focus();
    };
    return element("th", { scope: "col", "aria-sort": direction, class: column.number ? "number" : undefined },
      element("button", { type: "button", "data-column": column.id, onclick: sort }, column.name,
        element("span", { "aria-hidden": "true" }, mark)));
  }));
}

function sortedHops(hops) {
  const column = COLUMNS.find(({ id }) => id === store.sort.column);
  const value = column.order ?? column.value;
  const direction = store.sort.down ? -1 : 1;
  return hops.map((hop) => ({ hop, value: value(hop) })).sort((a, b) => {
    const compared = typeof a.value === "number" ? a.value - b.value : compareText(a.value, b.value);
    return direction * compared || byPlace(a.hop, b.hop);
  }).map(({ hop }) => hop);
}

function newRow(key) {
  const cells = COLUMNS.map((column) => {
    if (column.id === "upstream") {
      return element("th", { scope: "row" }, element("button", { type: "button", "data-key": `row ${key}`, onclick: () => openDetail(key) }));
    }
    return element("td", { class: column.number ? "number" : undefined },
      column.badge ? element("span") : document.createTextNode(""));
  });
  const row = element("tr", {}, ...cells);
  row.fill = (hop) => {
    row.classList.toggle("selected", store.selected === key);
    for (const [index, column] of COLUMNS.entries()) {
      const inner = cells[index].firstChild;
      const text = String(column.value(hop));
      if (inner.textContent !== text) inner.textContent = text;
      if (column.badge) inner.className = `badge ${hop.security}`;
      if (column.bad) cells[index].classList.toggle("bad", column.bad(hop));
    }
  };
  return row;
}

let tableRows = new Map();

function renderTable(hops) {
  const sorted = sortedHops(hops);
  const page = sorted.slice(0, store.limit);
  const body = byId("rows");
  const next = new Map();
  for (const hop of page) {
    const key = keyOf(hop);
    const row = tableRows.get(key) ?? newRow(key);
    row.fill(hop);
    next.set(key, row);
  }
  const rows = [...next.values()];
  if (rows.length !== body.children.length || rows.some((row, index) => body.children[index] !== row)) {
    const focused = document.activeElement?.dataset?.key;
    body.replaceChildren(...rows);
    if (focused) body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }
  tableRows = next;
  const all = store.hops.size;
  byId("count").textContent = sorted.length === all ? several(all, "hop") : `${sorted.length} of ${several(all, "hop")}`;
  const more = byId("more");
  more.hidden = sorted.length <= store.limit;
  more.textContent = `Show more (${page.length} of ${sorted.length} shown)`;
}
