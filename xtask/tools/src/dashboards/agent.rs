//! Agent health: whether the agents see everything, and what they cost.

use hopsight_export::metrics::catalogue::{
    BUILD_INFO, CAPTURE_BUDGET_REACHED, COMPONENT_STATE, CONNECTIONS_EVICTED, CONNECTIONS_TRACKED,
    EVENT_OUTPUT_DROPPED, EVENTS_LOST, EVENTS_RECEIVED, EVENTS_UNDECODABLE, EVIDENCE_CONFLICTS,
    HOPS, HOPS_LIMIT, LIBRARY_PROBE_HITS, LIBRARY_PROCESSES, LIBRARY_TRANSCRIPTS, MetricInfo,
    PROBES_ATTACHED, PROCESS_CPU_SECONDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY,
    PROGRAM_RUN_SECONDS, PROGRAM_RUNS, REASSEMBLY_DROPPED_BYTES, VERDICT_LATENCY,
};

use super::grafana::{Dashboard, Panel, Query, quantile, rate, select};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "hopsight-agent",
        title: "hopsight / Agent health",
        description: "Whether the agents see everything, and what they cost.",
        variables: vec![],
        rows: vec![
            ("State", state()),
            ("Events", events()),
            ("Library probes", library()),
            ("Cost", cost()),
        ],
    }
}

fn by(labels: &str, series: &str) -> String {
    format!("sum by ({labels}) ({series})")
}

/// Lines of a counter's rate, one per value of `label`.
fn rates(
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    metric: MetricInfo,
    labels: &str,
    legend: &'static str,
) -> Panel {
    Panel::lines(
        title,
        description,
        unit,
        vec![Query::series(by(labels, &rate(metric, "")), legend)],
    )
}

fn state() -> Vec<Panel> {
    let failed = select(COMPONENT_STATE.info, r#"state=~"failed|starting""#);
    let lost = by("instance", &rate(EVENTS_LOST.info, ""));
    let received = by("instance", &rate(EVENTS_RECEIVED.info, ""));
    let full = format!("max({} / {})", select(HOPS.info, ""), select(HOPS_LIMIT.info, ""));
    vec![
        Panel::number(
            "Agents",
            "Agents that are scraped.",
            "short",
            Query::series(format!("count({})", select(BUILD_INFO.info, "")), ""),
            &[("text", 0.0)],
        ),
        Panel::number(
            "Parts not working",
            "Components that are starting or have failed; see /readyz of the agent.",
            "short",
            Query::series(format!("sum({failed}) or vector(0)"), ""),
            &[("green", 0.0), ("red", 1.0)],
        ),
        Panel::number(
            "Fewest programs attached",
            "Kernel programs attached on the agent that has the fewest; five are needed.",
            "short",
            Query::series(
                format!(
                    "min({})",
                    by("instance", &select(PROBES_ATTACHED.info, r#"kind="network""#))
                ),
                "",
            ),
            &[("red", 0.0), ("green", 5.0)],
        ),
        Panel::number(
            "Largest loss",
            "Share of events lost on the agent that loses the most. Verdicts of such connections become unknown.",
            "percentunit",
            Query::series(format!("max({lost} / ({received} + {lost}))"), ""),
            &[("green", 0.0), ("orange", 0.0001), ("red", 0.01)],
        ),
        Panel::number(
            "Fullest hop table",
            "Hops as a share of the limit.",
            "percentunit",
            Query::series(full, ""),
            &[("green", 0.0), ("orange", 0.8), ("red", 1.0)],
        ),
        Panel::number(
            "Verdict latency, 99 %",
            "From when the deciding byte left the kernel to the verdict.",
            "s",
            Query::series(quantile(VERDICT_LATENCY.info, "0.99"), ""),
            &[("green", 0.0), ("orange", 0.5), ("red", 2.0)],
        ),
    ]
}

fn events() -> Vec<Panel> {
    let pairs = [("0.5", "50 %"), ("0.95", "95 %"), ("0.99", "99 %")];
    let quantiles =
        pairs.map(|(q, legend)| Query::series(quantile(VERDICT_LATENCY.info, q), legend)).into();
    vec![
        rates(
            "Events received",
            "From the kernel, by kind.",
            "cps",
            EVENTS_RECEIVED.info,
            "kind",
            "{{kind}}",
        ),
        rates(
            "Events lost",
            "Events that found no room in the ring buffer, by kind. Raise capture.ring_buffer_bytes.",
            "cps",
            EVENTS_LOST.info,
            "instance, kind",
            "{{instance}} {{kind}}",
        ),
        Panel::lines(
            "Verdict latency",
            "From when the deciding byte left the kernel to the verdict.",
            "s",
            quantiles,
        ),
        Panel::lines(
            "Connections followed",
            "Connections whose handshake is being followed.",
            "short",
            vec![Query::series(
                by("instance", &select(CONNECTIONS_TRACKED.info, "")),
                "{{instance}}",
            )],
        ),
        rates(
            "Connections given up",
            "table_full: raise connections.max_connections. memory: raise connections.max_stream_bytes. timeout: \
             handshakes that never end.",
            "cps",
            CONNECTIONS_EVICTED.info,
            "reason",
            "{{reason}}",
        ),
        rates(
            "Captured bytes not used",
            "duplicate: retransmissions. over_limit and out_of_window: beyond the limits. \
             contradictory: a copy that differs from the first; somebody may be forging packets.",
            "Bps",
            REASSEMBLY_DROPPED_BYTES.info,
            "reason",
            "{{reason}}",
        ),
        Panel::lines(
            "Oddities",
            "Evidence that contradicts itself, events that make no sense, captures cut short by the byte budget, events not written.",
            "cps",
            vec![
                Query::series(by("", &rate(EVIDENCE_CONFLICTS.info, "")), "evidence conflicts"),
                Query::series(by("", &rate(EVENTS_UNDECODABLE.info, "")), "undecodable events"),
                Query::series(by("", &rate(CAPTURE_BUDGET_REACHED.info, "")), "budget reached"),
                Query::series(by("", &rate(EVENT_OUTPUT_DROPPED.info, "")), "events not written"),
            ],
        ),
    ]
}

fn library() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Watched processes",
            "By whether their TLS library is read (library), or why not.",
            "short",
            vec![Query::series(
                format!("{} > 0", by("status", &select(LIBRARY_PROCESSES.info, ""))),
                "{{status}}",
            )],
        ),
        rates(
            "Handshakes shown by libraries",
            "unmatched: no connection with the same client random was seen.",
            "cps",
            LIBRARY_TRANSCRIPTS.info,
            "result",
            "{{result}}",
        ),
        rates(
            "Hits of library probes",
            "hit counts all of them; the others were not used. Each hit costs the proxy a trap.",
            "cps",
            LIBRARY_PROBE_HITS.info,
            "result",
            "{{result}}",
        ),
    ]
}

fn cost() -> Vec<Panel> {
    let run_time = by("program", &rate(PROGRAM_RUN_SECONDS.info, ""));
    let runs = by("program", &rate(PROGRAM_RUNS.info, ""));
    vec![
        Panel::lines(
            "Time per run of a kernel program",
            "Only where the kernel keeps this statistic (capture.program_statistics).",
            "s",
            vec![Query::series(format!("{run_time} / {runs}"), "{{program}}")],
        ),
        rates(
            "Processor time of kernel programs",
            "Seconds per second, over all agents; only where the kernel keeps this statistic.",
            "percentunit",
            PROGRAM_RUN_SECONDS.info,
            "program",
            "{{program}}",
        ),
        rates(
            "Processor time of the agent",
            "Of one processor.",
            "percentunit",
            PROCESS_CPU_SECONDS.info,
            "instance",
            "{{instance}}",
        ),
        Panel::lines(
            "Memory of the agent",
            "Resident memory.",
            "bytes",
            vec![Query::series(
                by("instance", &select(PROCESS_RESIDENT_MEMORY.info, "")),
                "{{instance}}",
            )],
        ),
        Panel::lines(
            "Open files of the agent",
            "File descriptors.",
            "short",
            vec![Query::series(by("instance", &select(PROCESS_OPEN_FDS.info, "")), "{{instance}}")],
        ),
    ]
}
