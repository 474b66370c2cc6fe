// What is known, and the words for it.
const SECURITY = ["plaintext", "unknown", "tls", "mtls"]; // worst first
const SECURITY_TEXT = {
  plaintext: "Plaintext", unknown: "Unknown", tls: "One-way TLS", mtls: "Mutual TLS",
};
const EVIDENCE_TEXT = {
  wire: "read on the wire",
  library: "shown by the proxy's own TLS library",
  inferred: "encrypted; told from the lengths of the TLS records",
  carried: "carried from the full handshake of the session that was resumed",
  none: "nothing decides it",
};
const ABSENT_TEXT = {
  not_sent: "none was sent",
  encrypted: "encrypted, and no library showed it",
  compressed: "compressed, and not unpacked",
  unreadable: "cannot be read as a certificate",
  unproven: "sent without proof of its key",
  not_seen: "the handshake was not seen as far",
};
const CHAIN_TEXT = {
  trusted: "to a CA that is trusted",
  named: "to a CA that the upstream names in its request",
  incomplete: "to an issuer that is neither sent nor trusted",
  other_ca: "to a CA that is not asked for or not trusted",
  not_signed: "nowhere: an issuer of the right name did not sign",
  not_valid_now: "through a certificate outside of its validity",
  wrong_name: "to a CA that is trusted, for another name",
  wrong_usage: "through a key that may not be used for this",
  name_constraints: "through a CA that may not issue for these names",
  too_long: "through more CAs than one of them allows",
};
const CLIENT_AUTH_TEXT = {
  presented: "the proxy presented a certificate and proved its key",
  requested_not_presented: "the upstream asked for a certificate, the proxy sent none",
  not_requested: "the upstream did not ask for a certificate",
  unknown: "whether the proxy presented a certificate is not known",
};

/** OpenSSL's results of verification (openssl-verification-options(1)), which BoringSSL has as well. */
const VERIFY_TEXT = {
  0: "the chain is trusted", 2: "the issuer of a certificate is not there", 3: "no revocation list was found",
  7: "a signature is wrong", 9: "a certificate is not valid yet", 10: "a certificate has expired",
  12: "the revocation list has expired", 18: "the certificate is signed by itself", 19: "the root is not trusted",
  20: "the issuer is not known", 21: "the issuer of the only certificate is not there", 22: "the chain is too long",
  23: "a certificate is revoked", 26: "a certificate is for another purpose",
  27: "the root is not trusted for this purpose", 28: "the root is rejected for this purpose", 62: "the certificate is for another name",
  63: "the certificate is for another e-mail address", 64: "the certificate is for another address",
};

const store = {
  hops: new Map(), // key -> hop
  at: 0, // clock of the agent at the last answer, seconds
  asked: 0, // our clock then, milliseconds
  maxHops: 0,
  overflowed: 0,
  agent: {}, // who tells it: node, cluster, version, since when
  shown: new Set(SECURITY),
  onlyViolations: false,
  onlyEnding: false,
  filter: "",
  sort: { column: "security", down: false },
  limit: 200,
  selected: null,
  recent: [], // newest connection events first
};

/** What the newest connection says of a hop on which nothing has worked: how it was to be protected. */
const notWorking = (hop) => (hop.security === "unknown" && hop.upstream !== "~other"
  && hop.last_verdict.security !== "unknown" ? hop.last_verdict : null);
/** How a connection ended that did not work, in a word. */
const endOf = (verdict) => verdict.reason ?? verdict.outcome;
const securityOf = (hop) => {
  const said = notWorking(hop);
  return said ? `${said.security} (${endOf(said)})` : hop.security;
};

const keyOf = (hop) => `${hop.proxy} → ${hop.upstream}`;
const rank = (hop) => SECURITY.indexOf(hop.security);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const connections = (hop) => sum(hop.connections.map((tally) => tally.connections));
const failed = (hop) => sum(Object.values(hop.failures));

const violationsOf = (hop) => hop.compliance?.violations ?? [];
/** What has to be looked at first comes first: violations, and of them and the others the worst. */
const urgency = (hop) => (violationsOf(hop).length > 0 ? 0 : SECURITY.length) + rank(hop);
const several = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Of a hop's certificates in use the one that ends first. */
const firstToEnd = (hop) => [hop.server_certificate, hop.client_certificate].filter(Boolean)
  .reduce((first, facts) => (first && first.not_after <= facts.not_after ? first : facts), null);
/** As the alerts have it: no more than a fifth of the lifetime is left, nor than two weeks. */
const isEnding = (facts) => facts.not_after - agentNow() < Math.min((facts.not_after - facts.not_before) / 5, 14 * 86400);
const endsSoon = (hop) => [hop.server_certificate, hop.client_certificate].some((facts) => facts && isEnding(facts));
/** Its name in the proxy's configuration, else the server name the proxy asks for; where that is not its label already. */
const nameOf = (hop) => [hop.name, hop.sni].find((name) => name && name !== hop.upstream);

/** Seconds on the agent's clock now. */
const agentNow = () => store.at + (Date.now() - store.asked) / 1000;

function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

/** How long it is till then. */
const until = (seconds) => (seconds < agentNow() ? `${age(agentNow() - seconds)} ago` : `in ${age(seconds - agentNow())}`);

const date = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 16) + " UTC";

const compareText = new Intl.Collator("en", { numeric: true }).compare;
const byPlace = (a, b) => compareText(a.proxy, b.proxy) || compareText(a.upstream, b.upstream);
const worstFirst = (a, b) => urgency(a) - urgency(b) || byPlace(a, b);

/** Everything of a hop that the filter looks at. */
function searchText(hop) {
  const certificates = [hop.server_certificate, hop.client_certificate].filter(Boolean)
    .flatMap((facts) => [facts.subject, facts.issuer, ...facts.sans]);
  return [hop.proxy, hop.upstream, hop.security, hop.client_auth, hop.evidence, hop.tls_version,
    hop.cipher, hop.name, hop.sni, hop.alpn, hop.compliance?.status, hop.proxy_identity?.unit,
    hop.proxy_identity?.kubernetes?.pod, hop.proxy_identity?.kubernetes?.namespace, ...(hop.servers ?? []).map((server) => server.address),
    ...violationsOf(hop).map((violation) => violation.rule), hop.protocol, ...Object.keys(hop.unknown_reasons),
    ...Object.keys(hop.failures), ...certificates].filter(Boolean).join(" ").toLowerCase();
}

function visibleHops() {
  const words = store.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return [...store.hops.values()].filter((hop) => {
    if (!store.shown.has(hop.security)) return false;
    if (store.onlyViolations && violationsOf(hop).length === 0) return false;
    if (store.onlyEnding && !endsSoon(hop)) return false;
    if (words.length === 0) return true;
    const text = searchText(hop);
    return words.every((word) => text.includes(word));
  });
}

/** Makes an element. Text is only ever set as text: names come from others. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);
