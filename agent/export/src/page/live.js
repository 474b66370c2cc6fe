// Drawing, and keeping what is drawn current.
let drawing = false;

function render() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    renderSummary();
    const hops = visibleHops();
    renderMap(hops);
    renderTable(hops);
    renderInventory(hops);
    renderDetail();
  });
}

/** What stands on a chip, with its count. */
function count(chip, number, words) {
  chip.querySelector("b").textContent = number;
  chip.querySelector("span").textContent = words;
}

function renderSummary() {
  const counts = Object.fromEntries(SECURITY.map((word) => [word, 0]));
  for (const hop of store.hops.values()) counts[hop.security] += 1;
  for (const word of SECURITY) {
    const chip = byId(`chip-${word}`);
    chip.setAttribute("aria-pressed", store.shown.has(word));
    chip.querySelector("b").textContent = counts[word];
  }
  byId("mix").replaceChildren(...SECURITY.filter((word) => counts[word] > 0)
    .map((word) => element("span", { class: word, style: `flex-grow: ${counts[word]}` })));
  document.title = counts.plaintext > 0 ? `${counts.plaintext} plaintext – hopsight` : "hopsight";
  const violating = [...store.hops.values()].filter((hop) => violationsOf(hop).length > 0).length;
  const only = byId("chip-violations");
  only.setAttribute("aria-pressed", store.onlyViolations);
  count(only, violating, violating === 1 ? "violation" : "violations");
  const ending = [...store.hops.values()].filter(endsSoon).length;
  byId("chip-ending").setAttribute("aria-pressed", store.onlyEnding);
  count(byId("chip-ending"), ending, ending === 1 ? "certificate ending" : "certificates ending");
  const overflow = byId("overflow");
  overflow.hidden = store.overflowed === 0;
  overflow.textContent = `The limit of ${several(store.maxHops, "hop")} was reached: ${several(store.overflowed, "connection")} counted under ~other.`;
}

/** Violations come first. Pressed, a chip of a kind of security hides it, and the others show nothing else. */
function makeChips() {
  const only = (id, key, title) => element("button", {
    type: "button", id, class: "chip violations", "aria-pressed": "false", title,
    onclick: () => { store[key] = !store[key]; render(); },
  }, element("b", {}, "0"), element("span"));
  byId("summary").append(only("chip-violations", "onlyViolations"), ...SECURITY.map((word) => element("button", {
    type: "button", id: `chip-${word}`, class: `chip ${word}`, "aria-pressed": "true",
    onclick: () => {
      if (!store.shown.delete(word)) store.shown.add(word);
      render();
    },
  }, element("b", {}, "0"), SECURITY_TEXT[word])),
  only("chip-ending", "onlyEnding", "a fifth of the lifetime is left at most, and less than two weeks"));
}

/** Takes in an answer of /hops: all hops, or those that changed. */
function take(answer, isWhole) {
  if (isWhole) {
    const there = new Set(answer.hops.map(keyOf));
    for (const key of store.hops.keys()) if (!there.has(key)) store.hops.delete(key);
  }
  const changes = [];
  for (const hop of answer.hops) {
    const key = keyOf(hop);
    const before = store.hops.get(key)?.security;
    if (before && before !== hop.security) changes.push(`${hop.proxy} to ${hop.upstream} is now ${SECURITY_TEXT[hop.security]}`);
    store.hops.set(key, hop);
  }
  if (changes.length > 0) byId("announce").textContent = changes.slice(0, 3).join(". ");
  const { node, cluster, agent_version: version, watch } = answer;
  Object.assign(store, { agent: { node, cluster, version, since: watch?.since } });
  renderAgent();
  Object.assign(store, { at: answer.at, asked: Date.now(), maxHops: answer.max_hops, overflowed: answer.overflowed_connections });
  render();
}

/** Whose answers these are, and since when somebody watched. */
function renderAgent() {
  const { node, cluster, version, since } = store.agent;
  const words = [node && `node ${node}`, cluster && `cluster ${cluster}`, since && `watched since ${date(since)}`, version && `hopsight ${version}`];
  const text = words.filter(Boolean).join(" · ");
  if (byId("agent").textContent !== text) byId("agent").textContent = text;
}

let fetching = false;

/** Asks for hops that changed, or for all of them. */
async function refresh(isWhole) {
  if (fetching) return;
  fetching = true;
  try {
    // A second earlier than the last answer: reports may have the same time.
    const query = isWhole || store.at === 0 ? "" : `?since=${store.at - 1}`;
    const response = await fetch(`/hops${query}`);
    if (response.ok) take(await response.json(), query === "");
    else setLive("lost", (await response.text()).trim());
  } catch {
    setLive("lost", "agent not reachable, trying again");
  } finally {
    fetching = false;
  }
}

function setLive(state, text) {
  byId("live").dataset.state = state;
  if (byId("live").textContent !== text) byId("live").textContent = text;
}

let isDirty = false;

function listen() {
  const events = new EventSource("/events");
  events.addEventListener("open", () => { setLive("live", "live"); refresh(true); });
  events.addEventListener("error", () => {
    // Closed for good when the agent has no place for another stream; polling goes on.
    const closed = events.readyState === EventSource.CLOSED;
    setLive("lost", closed ? "no event stream, asking every few seconds" : "connection lost, trying again");
    if (closed) setTimeout(listen, 15000);
  });
  events.addEventListener("lagged", () => { isDirty = true; });
  events.addEventListener("drift", (event) => {
    isDirty = true;
    const drift = JSON.parse(event.data);
    const what = drift.event === "drift_opened" ? "violates" : "no longer violates";
    byId("announce").textContent = `${drift.proxy} to ${drift.upstream} ${what} ${drift.rule}`;
  });
  for (const kind of ["hop", "intent"]) {
    events.addEventListener(kind, (event) => {
      isDirty = true;
      const { proxy, upstream, detail, from } = JSON.parse(event.data);
      if (from.security === "unknown") return;
      const what = kind === "hop" ? "changed" : "is configured otherwise";
      byId("announce").textContent = `${proxy} to ${upstream} ${what}: ${detail}`;
    });
  }
  events.addEventListener("connection", (event) => {
    isDirty = true;
    // Only an open detail shows single connections.
    if (store.selected === null) return;
    const { time, ...report } = JSON.parse(event.data);
    store.recent.unshift({ time, key: keyOf(report), report });
    store.recent.length = Math.min(store.recent.length, 500);
  });
}

async function showHealth() {
  try {
    const answer = await (await fetch("/readyz")).json();
    const troubles = Object.entries(answer.components).filter(([, c]) => c.state !== "ready");
    const box = byId("health");
    box.hidden = troubles.length === 0;
    box.textContent = troubles.map(([name, c]) => `${name} ${c.state}: ${c.detail}`).join("; ");
  } catch { /* the live mark says that the agent is not reachable */ }
}

function setFilter(text) {
  byId("filter").value = text;
  Object.assign(store, { filter: text, limit: 200 });
  render();
}

function start() {
  makeChips();
  renderHeadings();
  byId("filter").addEventListener("input", (event) => setFilter(event.target.value));
  byId("more").addEventListener("click", () => { store.limit += 500; render(); });
  byId("close").addEventListener("click", closeDetail);
  addEventListener("keydown", (event) => { if (event.key === "Escape" && store.selected) closeDetail(); });
  const selectFromAddress = () => { store.selected = decodeURIComponent(location.hash.slice(1)) || null; render(); };
  addEventListener("hashchange", selectFromAddress);
  new ResizeObserver(render).observe(byId("map"));
  selectFromAddress();
  refresh(true);
  showHealth();
  listen();
  let seconds = 0;
  setInterval(() => {
    seconds += 1;
    const polls = byId("live").dataset.state !== "live" && seconds % 5 === 0;
    if (seconds % 60 === 0 || polls) refresh(seconds % 60 === 0);
    else if (isDirty) { isDirty = false; refresh(false); }
    if (seconds % 15 === 0) { showHealth(); render(); }
  }, 1000);
}

start();
