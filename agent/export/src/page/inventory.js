// What is in use of certificates and cryptography, over the hops that are shown.
const CERTIFICATES_SHOWN = 50;
const POST_QUANTUM_TEXT = {
  yes: "safe from a quantum computer", not_offered: "the proxy offers no such group",
  not_selected: "the upstream chooses another group", proxy_below_tls13: "the proxy offers no TLS 1.3",
  upstream_below_tls13: "the upstream chooses an older version", unknown: "not known",
};
const GROUP_ABSENT_TEXT = {
  pre_shared_key: "of a session or another key", key_transport: "none: keys are sent under the certificate's",
  no_group: "without a name", not_seen: "not seen",
};

/** What tells certificates apart, also of an agent that tells no fingerprint. */
const fingerprint = (facts) => facts.sha256 ?? `${facts.issuer} ${facts.serial}`;

/** Every certificate in use once, with its hops; what ends first comes first. */
function certificatesInUse(hops) {
  const found = new Map();
  const add = (hop, side, facts) => {
    const key = `${side} ${fingerprint(facts)}`;
    const known = found.get(key) ?? { side, facts, hops: new Set() };
    known.hops.add(hop);
    found.set(key, known);
  };
  for (const hop of hops) {
    const servers = hop.servers ?? [];
    for (const side of ["server", "client"]) {
      const all = servers.flatMap((server) => server.certificates?.[side] ?? []);
      // A fleet has the one of each side that ends first.
      const first = hop[`${side}_certificate`];
      for (const facts of all.length > 0 || !first ? all : [first]) add(hop, side, facts);
    }
  }
  return [...found.values()].sort((a, b) => a.facts.not_after - b.facts.not_after || compareText(a.facts.subject, b.facts.subject));
}

function certificateRow({ side, facts, hops }) {
  const lifetime = Math.max(1, facts.not_after - facts.not_before);
  const left = facts.not_after - agentNow();
  const share = Math.min(1, Math.max(0, left / lifetime));
  const [first] = hops;
  const open = element("button", { type: "button", "data-key": `certificate ${side} ${fingerprint(facts)}`, onclick: () => openDetail(keyOf(first)) }, several(hops.size, "hop"));
  return element("tr", {},
    element("th", { scope: "row" }, facts.subject || facts.sans[0] || "(empty subject)"),
    element("td", {}, side === "client" ? "proxy" : "upstream"),
    element("td", {}, facts.issuer),
    element("td", { class: left < 0 ? "bad" : undefined }, date(facts.not_after)),
    element("td", {}, element("meter", { min: 0, max: 1, low: 0.2, high: 0.2, optimum: 1, value: share.toFixed(3), "aria-label": "share of the lifetime that is left" }),
      ` ${left < 0 ? "ended" : age(left)}`),
    element("td", { class: "number" }, open));
}

/** Hops by a word of what they use: a hop counts under each that it uses. */
function hopsBy(hops, wordsOf) {
  const counts = new Map();
  for (const hop of hops) {
    for (const word of new Set((hop.cryptography ?? []).map(wordsOf))) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1] || compareText(a[0], b[0]));
}

function shares(title, all, counts) {
  return element("div", {}, element("h3", {}, title), element("dl", { class: "shares" }, ...counts.flatMap(([word, count]) => [
    element("dt", {}, word),
    element("dd", {}, element("meter", { min: 0, max: all, value: count, "aria-label": `hops: ${title}, ${word}` }),
      ` ${count} of ${all} (${Math.round((100 * count) / all)}\u00a0%)`),
  ])));
}

let inventoryDrawn = "";

function renderInventory(hops) {
  // Drawn again when something comes or goes, and once a minute for what is left.
  const using = hops.filter((hop) => (hop.cryptography ?? []).length > 0);
  const certificates = certificatesInUse(hops);
  const by = [
    ["Protocol version", hopsBy(using, (kind) => `TLS ${kind.version}`)],
    ["Group of the key exchange", hopsBy(using, (kind) => kind.group ?? GROUP_ABSENT_TEXT[kind.group_absent] ?? "not seen")],
    ["Post-quantum", hopsBy(using, (kind) => POST_QUANTUM_TEXT[kind.post_quantum] ?? kind.post_quantum)],
  ];
  const state = JSON.stringify([Math.floor(agentNow() / 60), using.length, by,
    certificates.slice(0, CERTIFICATES_SHOWN).map(({ facts, side, hops: of }) => [fingerprint(facts), side, of.size]), certificates.length]);
  if (state === inventoryDrawn) return;
  inventoryDrawn = state;
  const focused = document.activeElement?.dataset?.key;
  byId("certificates").replaceChildren(...certificates.slice(0, CERTIFICATES_SHOWN).map(certificateRow));
  if (focused) byId("certificates").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  const note = byId("certificates-note");
  note.hidden = certificates.length > 0 && certificates.length <= CERTIFICATES_SHOWN;
  note.textContent = certificates.length === 0 ? "No certificate was seen on these hops."
    : `The ${CERTIFICATES_SHOWN} that end first, of ${certificates.length}. hopsight inventory lists them all.`;
  byId("cryptography").replaceChildren(...(using.length > 0 ? by.map(([title, counts]) => shares(title, using.length, counts))
    : [element("p", {}, "No finished handshake was seen on these hops.")]));
}
