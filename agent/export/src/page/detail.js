// One hop: what it is, which messages say so and how they are known.

/** The handshake as a list of { state, message, text, how }. */
function timeline(hop) {
  const steps = [];
  const add = (state, message, text, how) => steps.push({ state, message, text, how });
  if (hop.proxy_protocol) add("seen", `PROXY protocol ${hop.proxy_protocol}`, "came first", EVIDENCE_TEXT.wire);
  if (hop.security === "plaintext") {
    add("seen", "First bytes", hop.protocol ? `are ${hop.protocol}, not TLS` : "are not TLS", EVIDENCE_TEXT.wire);
    return steps;
  }
  if (hop.starttls) add("seen", "Upgrade", `to TLS within ${hop.starttls}`, EVIDENCE_TEXT.wire);
  if (hop.security === "unknown") {
    const { reason, outcome } = hop.last_verdict;
    if (outcome === "rejected" || outcome === "failed") {
      const alert = hop.last_alert;
      const from = alert && (alert.from === "client" ? "the proxy" : "the upstream");
      const said = alert ? `${from} said ${alert.description} (alert ${alert.code})` : "no alert was seen";
      add("failed", outcome === "rejected" ? "Refused by the upstream" : "The handshake failed", said, "");
    }
    if (reason === "unaccepted") {
      add("failed", "The upstream ended the connection", "and showed nothing that says it accepted the handshake", "");
    }
    const said = notWorking(hop);
    if (said) add("seen", "The newest connection", `was ${SECURITY_TEXT[said.security]}: ${CLIENT_AUTH_TEXT[said.client_auth]}`, EVIDENCE_TEXT[said.evidence]);
    const why = said ? `the newest ended as: ${endOf(said)}` : reason && `the newest is unknown because: ${reason}`;
    add("hidden", "No connection has worked", why || "so there is nothing to judge", "");
    return steps;
  }
  const messages = hop.evidence === "inferred"
    ? `${EVIDENCE_TEXT.inferred}${hop.rule ? ` (rule ${hop.rule})` : ""}` : EVIDENCE_TEXT[hop.evidence];
  add("seen", "ClientHello", hop.sni ? `asks for ${hop.sni}` : "without server name", EVIDENCE_TEXT.wire);
  add("seen", "ServerHello", [hop.tls_version && `TLS ${hop.tls_version}`, hop.cipher, hop.alpn && `ALPN ${hop.alpn}`].filter(Boolean).join(", "), EVIDENCE_TEXT.wire);
  if (hop.resumed) {
    const from = hop.carried_from;
    const by = from && (from.by === "session" ? "the one that began this session" : "the last one of the same process");
    add("seen", "Resumed session", from ? `of a full handshake ${age(from.age_seconds)} earlier${from.pid ? ` by process ${from.pid}` : ""}, ${by}, known from ${from.evidence}` : "no certificates are sent", EVIDENCE_TEXT.wire);
  }
  const certificate = (facts, absent) => (facts ? facts.subject || "(empty subject)" : ABSENT_TEXT[absent] ?? "contents not seen");
  add(hop.server_certificate ? "seen" : "hidden", "Certificate of the upstream", certificate(hop.server_certificate, hop.server_certificate_absent), hop.server_certificate ? messages : "");
  if (hop.client_auth === "not_requested") add("absent", "CertificateRequest", "was not sent", messages);
  else if (hop.client_auth === "unknown") add("hidden", "CertificateRequest", "not known", "");
  else add("seen", "CertificateRequest", "was sent by the upstream", messages);
  if (hop.client_auth === "requested_not_presented") add("absent", "Certificate of the proxy", "is empty", messages);
  if (hop.client_auth === "presented") {
    add("seen", "Certificate of the proxy", certificate(hop.client_certificate, hop.client_certificate_absent), messages);
    add("seen", "CertificateVerify of the proxy", "proves the key", messages);
  }
  add("seen", "Finished", "the handshake was completed", hop.tls_version === "1.3" ? messages : EVIDENCE_TEXT.wire);
  return steps;
}

function definitions(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", {}, ...known.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value instanceof Node ? value : String(value))]));
}

/** What was found of a certificate beyond what it says itself. */
function findingsOf(hop, side, { sha256 }) {
  const uses = (hop.servers ?? []).flatMap((server) => server.certificates[side]).filter((use) => use.sha256 === sha256);
  const each = (text) => [...new Set(uses.map(text).filter(Boolean))].join("; ");
  const revoked = ({ revocation }) => revocation && (revocation.answer === "unknown"
    ? `unknown: ${revocation.reason.replaceAll("_", " ")}`
    : `${revocation.answer}, by ${revocation.by}${revocation.as_of ? ` of ${date(revocation.as_of)}` : ""}`);
  const renewal = ({ renews }) => renews && (renews.seconds_left < 0
    ? `in the place of ${renews.serial}, ${age(-renews.seconds_left)} after its end`
    : `in the place of ${renews.serial}, which had ${age(renews.seconds_left)} left`);
  return [
    ["Leads", each((use) => CHAIN_TEXT[use.chain])],
    ["Revoked", each(revoked)],
    ["Renewed", each(renewal)],
    ["Accepted", uses.length && uses.every((use) => use.accepted === false) ? "in no handshake that was seen" : ""],
  ];
}

function certificateSection(title, hop, side) {
  const facts = hop[`${side}_certificate`];
  if (!facts) return [];
  const left = facts.not_after - agentNow();
  const end = element("span", { class: left < 0 ? "bad" : isEnding(facts) ? "warn" : undefined },
    `${date(facts.not_after)} (${left < 0 ? "ended " : ""}${until(facts.not_after)})`);
  return [element("h3", {}, title), definitions([
    ["Subject", facts.subject], ["Names", facts.sans.join(", ")], ["Issuer", facts.issuer],
    ["Serial", facts.serial], ["From", date(facts.not_before)], ["Until", end],
    ["Key", facts.public_key], ["Signature", facts.signature], ["Chain", [several(facts.chain_length, "certificate"), ...(facts.issuers ?? []).map((issuer) => `${issuer.subject} until ${date(issuer.not_after)}`)].join("; ")],
    ["Key usage", [...(facts.key_usage ?? []), ...(facts.extended_key_usage ?? [])].join(", ").replaceAll("_", " ")],
    ["SHA-256", facts.sha256], ...findingsOf(hop, side, facts),
  ])];
}

/** Of each server the certificates in use, or why there is none; where servers differ from the hop. */
function serverCertificateSection(hop) {
  const servers = hop.servers ?? [];
  const of = (server, side) => server.certificates[side].map((facts) => `${facts.subject || "(empty subject)"} until ${date(facts.not_after)}`);
  const several = servers.length > 1 || servers.some((server) => ["server", "client"].some((side) => server.certificates[side].length > 1));
  const encrypted = servers.filter((server) => server.security !== "plaintext");
  if (!several || encrypted.length === 0) return [];
  const rows = encrypted.map((server) => {
    const text = (side) => of(server, side).join("; ") || (ABSENT_TEXT[server.certificates[`${side}_absent`]] ?? "none seen");
    return element("li", {}, element("b", {}, server.address), ` upstream: ${text("server")}; proxy: ${text("client")}`);
  });
  return [element("h3", {}, "Certificates in use, by server"), element("ul", { class: "certificates" }, ...rows)];
}

const counted = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1])
  .map(([word, count]) => `${word} ${count}`).join(", ");

function countSections(hop) {
  const rows = [...hop.connections].sort((a, b) => b.connections - a.connections).map((tally) =>
    element("tr", {}, element("td", {}, element("span", { class: `badge ${tally.security}` }, tally.security)),
      element("td", {}, tally.client_auth), element("td", {}, tally.evidence),
      element("td", {}, tally.outcome), element("td", { class: "number" }, String(tally.connections))));
  const heading = (text) => element("th", { scope: "col" }, text);
  const table = element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...["Security", "Client auth", "Evidence", "Outcome", "Count"].map(heading))),
    element("tbody", {}, ...rows)));
  return [element("h3", {}, "Finished connections"), rows.length ? table : element("p", {}, "none yet"),
    definitions([
      ["Unknown because", counted(hop.unknown_reasons)],
      ["Failures", counted(hop.failures)],
      ["Alerts", hop.alerts.map((alert) => `${alert.alert} from ${alert.from === "client" ? "the proxy" : "the upstream"} ${alert.count}`).join(", ")],
      ["Last alert", hop.last_alert && `${hop.last_alert.description} (${hop.last_alert.code}), ${age(agentNow() - hop.last_alert.at)} ago`],
      ["Negotiated", hop.negotiated.map((n) => `${n.version} ${n.cipher} ${n.connections}`).join("; ")],
      ["Resumed", hop.resumption_known ? `${hop.resumed_connections} of ${hop.resumption_known}` : null],
    ])];
}

/** What its connections used of cryptography, the newest first. */
function cryptographySection(hop) {
  const kinds = [...(hop.cryptography ?? [])].sort((a, b) => b.last_seen - a.last_seen);
  if (kinds.length === 0) return [];
  const or = (value, absent) => value ?? absent?.replaceAll("_", " ") ?? "";
  const rows = kinds.map((kind) => element("tr", {},
    ...[`TLS ${kind.version}`, kind.cipher ?? "", or(kind.group, kind.group_absent),
      or(kind.server_signature, kind.server_signature_absent), or(kind.client_signature, kind.client_signature_absent),
      kind.post_quantum.replaceAll("_", " "), kind.evidence].map((text) => element("td", {}, text)),
    element("td", { class: "number" }, String(kind.connections))));
  const headings = ["Version", "Cipher suite", "Group", "Upstream signs with", "Proxy signs with", "Post-quantum", "Evidence", "Count"];
  return [element("h3", {}, "Cryptography"), element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...headings.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows)))];
}

/** Whether the hop is as it should be, and what its proxy's configuration says. */
function policySection(hop) {
  const { compliance, intent } = hop;
  const place = (at) => (at ? `${at.file}:${at.line}` : null);
  const parts = [];
  if (compliance) {
    parts.push(element("h3", {}, `Policy: ${compliance.policy}`));
    if (violationsOf(hop).length === 0) parts.push(element("p", {}, compliance.status));
    if (compliance.exemption) {
      const { rules, owner, reason, until } = compliance.exemption;
      const lastDay = new Date((until - 1) * 1000).toISOString().slice(0, 10);
      parts.push(element("p", {}, `Exempt from ${rules.join(", ")} until ${lastDay}; ${owner} answers for it: ${reason}`));
    }
    parts.push(element("ul", {}, ...violationsOf(hop).map((violation) => element("li", {},
      element("b", { class: "bad" }, violation.rule), ` ${violation.detail}`,
      ` (for ${age(agentNow() - violation.since)}${violation.preexisting ? " at least: it is older than the agent" : ""}${violation.place ? `, ${place(violation.place)}` : ""})`))));
  }
  if (intent) {
    parts.push(element("h3", {}, "The proxy's configuration"), definitions([
      ["Speaks", intent.scheme], ["Client certificate", intent.client_certificate],
      ["Verifies the upstream", intent.verify], ["At", place(intent.place)],
    ]));
  }
  const who = hop.proxy_identity;
  const pod = who?.kubernetes;
  if (who && (who.unit || who.container || who.pod || pod)) {
    parts.push(element("h3", {}, "The proxy"), definitions([
      ["Unit", who.unit], ["Container", who.container?.id.slice(0, 12)], ["Runtime", who.container?.runtime],
      ["Pod", pod ? `${pod.namespace}/${pod.pod}` : who.pod?.uid],
      ["Workload", pod && `${pod.workload.kind} ${pod.workload.name}`],
    ]));
  }
  return parts;
}

function recentSection(hop) {
  const events = store.recent.filter((event) => event.key === keyOf(hop)).slice(0, 12);
  if (events.length === 0) return [];
  return [element("h3", {}, "Connections while this page is open"), element("ul", {},
    ...events.map(({ time, report }) => element("li", {}, `${time.slice(11, 19)} ${report.src} `,
      element("span", { class: `badge ${report.security}` }, report.security),
      ` ${report.outcome}, ${report.evidence}${report.reason ? `, ${report.reason}` : ""}`)))];
}

/** Sessions that nobody saw begin, and what decides them. */
function olderText(hop) {
  const older = hop.older_sessions;
  if (!older) return "";
  const before = new Date(older.before * 1000).toISOString().slice(0, 16).replace("T", " ");
  const why = {
    older_process: "nobody saw them begin",
    library_unread: "its TLS library was not read when they began",
    ticket_lost: "their tickets were lost on the way to the agent",
    unexplained: "no handshake is known that began them",
  }[older.unseen];
  return ` Sessions from before ${before} UTC are resumed (${several(older.connections, "connection")}): ${why}, and they do not end by themselves. This decides it: ${older.decided_by}`;
}

function verdictText(hop) {
  if (hop.security === "unknown") {
    const said = notWorking(hop);
    if (said) return `No connection of this hop has worked. The newest was to be ${SECURITY_TEXT[said.security]} and ended as: ${endOf(said)}.`;
    const reason = hop.last_verdict.reason;
    return `No connection of this hop has shown how it is protected${reason ? ` (last reason: ${reason})` : ""}.`;
  }
  if (hop.security === "plaintext") {
    const onward = { yes: " They go on encrypted", unknown: " Whether they go on encrypted is not known" }[hop.continues_encrypted];
    const by = [...new Set((hop.servers ?? []).map((server) => server.onward?.by).filter(Boolean))].join(", ");
    return `Application bytes cross this hop without TLS.${onward ? `${onward}: ${by} takes them further.` : ""}`;
  }
  const verified = { yes: "The proxy checks the upstream's certificate.", unknown: "Whether the proxy checks the upstream's certificate is not known.", no: "The proxy does not check the upstream's certificate." };
  const client = CLIENT_AUTH_TEXT[hop.client_auth];
  return `${client[0].toUpperCase()}${client.slice(1)}. ${verified[hop.server_verified]}`;
}

/** How the proxy speaks to each server, where there is more than one way. */
function treatmentSection(hop) {
  const treatments = (hop.servers ?? []).flatMap((server) => server.treatments.map((treatment) => ({ server, ...treatment })));
  if (treatments.length < 2) return [];
  const total = sum(treatments.map((treatment) => treatment.connections));
  const share = (treatment) => (total ? `${Math.round((100 * treatment.connections) / total)} % of connections` : "no finished connection");
  const rows = treatments.map((treatment) => element("li", { class: treatment.security },
    element("b", {}, SECURITY_TEXT[treatment.security]),
    ` to ${treatment.server.address}: ${treatment.client_auth.replaceAll("_", " ")}, verified ${treatment.server_verified}; `
    + `${share(treatment)}, last ${age(agentNow() - treatment.last_seen)} ago`));
  return [element("h3", {}, "Treatments in use (the hop is its worst)"), element("ul", { class: "treatments" }, ...rows)];
}

let detailDrawn = "";

function renderDetail() {
  const panel = byId("detail");
  const hop = store.hops.get(store.selected);
  panel.hidden = !hop;
  // Drawn again only for news, so that text can be selected meanwhile.
  const state = hop ? `${store.selected} ${hop.last_seen} ${hop.compliance?.status} ${violationsOf(hop).length} ${store.recent.length}` : "";
  if (state === detailDrawn) return;
  detailDrawn = state;
  if (!hop) return;
  byId("detail-title").textContent = keyOf(hop);
  const steps = timeline(hop).map(({ state, message, text, how }) => element("li", { class: state },
    element("b", {}, message), ` ${text}`, how ? element("small", {}, how) : null));
  byId("detail-body").replaceChildren(
    element("p", { class: `verdict ${hop.security}` }, element("b", {}, SECURITY_TEXT[hop.security]), element("span", {}, ` ${verdictText(hop)}${olderText(hop)}`)),
    definitions([
      ["Name", nameOf(hop)],
      ["Evidence", `${hop.evidence}: ${EVIDENCE_TEXT[hop.evidence]}`],
      ["Since", `${date(hop.security_since)} (${age(agentNow() - hop.security_since)})`],
      ["Last seen", `${age(agentNow() - hop.last_seen)} ago`],
      ["Verification", hop.verify_error === null ? null : `${VERIFY_TEXT[hop.verify_error] ?? "failed"} (result ${hop.verify_error})`],
    ]),
    ...fleetSection(hop),
    ...policySection(hop),
    ...treatmentSection(hop),
    // A fleet has no single connection that decides.
    ...(hop.fleet ? [] : [element("h3", {}, "How we know: the handshake that decides"), element("ol", { class: "timeline" }, ...steps)]),
    ...certificateSection("Certificate of the upstream", hop, "server"),
    ...certificateSection("Certificate of the proxy", hop, "client"),
    ...serverCertificateSection(hop),
    ...cryptographySection(hop), ...countSections(hop), ...recentSection(hop));
}

/** Of a fleet: what the agents say that see a hop, asked when somebody opens it. */
const asked = { key: null, text: "", said: null };

async function askAgents(hop) {
  const key = keyOf(hop);
  Object.assign(asked, { key, text: "Asking the agents …", said: null });
  try {
    const response = await fetch(`/hop?proxy=${encodeURIComponent(hop.proxy)}&upstream=${encodeURIComponent(hop.upstream)}`);
    const text = response.ok ? "" : (await response.text()).trim();
    const said = response.ok ? await response.json() : null;
    if (asked.key === key) Object.assign(asked, { text, said });
  } catch {
    if (asked.key === key) asked.text = "The fleet does not answer.";
  }
  detailDrawn = "";
  render();
}

/** Which nodes see the hop, and what each of them says. */
function fleetSection(hop) {
  if (!hop.fleet) return [];
  if (asked.key !== keyOf(hop)) askAgents(hop);
  const nodes = SECURITY.filter((word) => hop.fleet.nodes[word]).map((word) => `${SECURITY_TEXT[word]} on ${hop.fleet.nodes[word]}`);
  const parts = [element("h3", {}, "Nodes"), element("p", {}, nodes.join(", "))];
  if (asked.text) parts.push(element("p", {}, asked.text));
  if (!asked.said) return parts;
  const { hops, silent, not_asked: others } = asked.said;
  parts.push(element("ul", {}, ...hops.map(({ instance, node, hop: of }) => element("li", {},
    element("span", { class: `badge ${of.security}` }, of.security), ` ${node ?? instance}: ${verdictText(of)}`)),
    ...silent.map(({ instance, why }) => element("li", {}, element("b", { class: "bad" }, "no answer"), ` ${instance}: ${why}`))));
  if (others > 0) parts.push(element("p", {}, others === 1 ? "1 more node sees it and was not asked." : `${others} more nodes see it and were not asked.`));
  const worst = hops[0]?.hop;
  if (!worst) return parts;
  return [...parts, element("h3", {}, `As ${hops[0].node ?? hops[0].instance} has it`), ...treatmentSection(worst), ...policySection(worst),
    ...certificateSection("Certificate of the upstream", worst, "server"),
    ...certificateSection("Certificate of the proxy", worst, "client"), ...cryptographySection(worst)];
}

let opener = null;

function openDetail(key) {
  opener = document.activeElement?.dataset?.key ?? null;
  if (store.selected !== key) store.recent = [];
  store.selected = key;
  history.replaceState(null, "", `#${encodeURIComponent(key)}`);
  renderDetail();
  byId("detail-title").focus();
  render();
}

function closeDetail() {
  store.selected = null;
  history.replaceState(null, "", location.pathname);
  render();
  if (opener) document.querySelector(`[data-key="${CSS.escape(opener)}"]`)?.focus();
}
