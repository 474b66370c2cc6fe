//! Every metric of the agent, in one place.
//!
//! The doc comment of a constant is the help text of the metric. Name, type, labels and help are
//! written once, here; `METRICS.md` is generated from [`METRICS`].

/// Type of a metric, in Prometheus words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only goes up, or back to zero when the agent restarts or the hop is forgotten.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl MetricKind {
    /// The word of the text exposition format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Name, type, labels and help of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// Full name.
    pub name: &'static str,
    /// Type.
    pub kind: MetricKind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    help: &'static str,
}

impl MetricInfo {
    /// What it says, in one or two sentences.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }
}

/// The histograms of the agent, which are observed as things happen.
pub(super) type Histograms<'a> = [(MetricInfo, &'a prometheus::Histogram)];

/// A metric with `N` labels. The number of label values is checked by the compiler.
#[derive(Clone, Copy, Debug)]
pub struct Metric<const N: usize> {
    /// Its description.
    pub info: MetricInfo,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $id:ident: $kind:ident $name:literal [$($label:literal),*];)+) => {
        $($(#[doc = $help])+
        pub const $id: Metric<{ <[&str]>::len(&[$($label),*]) }> = Metric {
            info: MetricInfo {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),+),
            },
        };)+

        /// Every metric.
        pub const METRICS: &[MetricInfo] = &[$($id.info),+];
    };
}

metrics! {
    /// Finished connections from a proxy to an upstream, by verdict, the evidence for it and how the handshake ended. One that was not established protects nothing, whatever its security.
    UPSTREAM_CONNECTIONS: Counter "hopsight_upstream_connections_total"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "security", "client_auth", "evidence", "outcome"];
    /// Connections that a proxy closed before either side had sent a byte: health checks that only connect, spare connections. They are in no other count, and make no hop.
    UNUSED_CONNECTIONS: Counter "hopsight_unused_connections_total" [];
    /// Finished connections whose security is unknown, by reason.
    UPSTREAM_UNKNOWN: Counter "hopsight_upstream_unknown_total" ["proxy", "proxy_namespace", "proxy_workload", "upstream", "reason"];
    /// Handshakes that failed, by the alert that ended them, or by outcome (rejected or failed) where no alert was seen; unaccepted where the upstream ended the connection without a word.
    UPSTREAM_HANDSHAKE_FAILURES: Counter "hopsight_upstream_handshake_failures_total"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "reason"];
    /// TLS alerts seen in handshakes, by sender (client is the proxy) and RFC 8446 name.
    UPSTREAM_ALERTS: Counter "hopsight_upstream_alerts_total" ["proxy", "proxy_namespace", "proxy_workload", "upstream", "from", "alert"];
    /// TLS connections that are over, by the protocol version and cipher suite that the upstream chose, whether or not the handshake succeeded after that.
    UPSTREAM_TLS_CONNECTIONS: Counter "hopsight_upstream_tls_connections_total"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "version", "cipher"];
    /// TLS connections that are over and resumed a session.
    UPSTREAM_RESUMED_CONNECTIONS: Counter "hopsight_upstream_resumed_connections_total"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream"];

    /// What a hop is now: its worst treatment in use, over all its servers. 1 for the current security, 0 for the others.
    HOP_SECURITY: Gauge "hopsight_hop_security" ["proxy", "proxy_namespace", "proxy_workload", "upstream", "security"];
    /// Whether the proxy checks the upstream's certificate: the worst answer of the treatments in use that are TLS. 1 for the current answer, 0 for the others. Absent while the hop does not use TLS.
    HOP_SERVER_VERIFIED: Gauge "hopsight_hop_server_verified"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "server_verified"];
    /// Always 1; whether what the proxy sends in the clear goes on encrypted: yes (by WireGuard) or unknown (a mesh's proxy on the node takes it over). Absent for hops that are not plaintext, and where nothing is known that would encrypt them. The hop is plaintext all the same.
    HOP_CONTINUES_ENCRYPTED: Gauge "hopsight_hop_continues_encrypted"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "continues_encrypted"];
    /// When the hop's security last changed, in seconds since the Unix epoch.
    HOP_SECURITY_SINCE: Gauge "hopsight_hop_security_since_timestamp_seconds" ["proxy", "proxy_namespace", "proxy_workload", "upstream"];
    /// When a connection of the hop was last reported, in seconds since the Unix epoch.
    HOP_LAST_SEEN: Gauge "hopsight_hop_last_seen_timestamp_seconds" ["proxy", "proxy_namespace", "proxy_workload", "upstream"];
    /// Age of the handshake that the hop's sessions rest on: how long ago both sides last really showed who they are, of the oldest treatment in use. A resumed session shows no certificate; its age is that of the full handshake that began it. Absent for hops without TLS.
    HOP_AUTHENTICATION_AGE: Gauge "hopsight_hop_authentication_age_seconds"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream"];
    /// When the first connection was seen of those that resume sessions from before the agent's time, in seconds since the Unix epoch: nobody saw them begin, and no handshake is needed for them to go on. Absent where there are none (any more).
    HOP_OLDER_SESSIONS: Gauge "hopsight_hop_older_sessions_timestamp_seconds"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream"];
    /// When a certificate in use on a side (client is the proxy) of a hop expires, in seconds since the Unix epoch: of all its servers' the one with the smallest share of its lifetime left.
    CERTIFICATE_NOT_AFTER: Gauge "hopsight_certificate_not_after_timestamp_seconds"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "side"];
    /// When that certificate became valid, in seconds since the Unix epoch: with its end the lifetime of which alerts ask how much is left.
    CERTIFICATE_NOT_BEFORE: Gauge "hopsight_certificate_not_before_timestamp_seconds"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "side"];

    /// Hops by the weakest cryptography in use: TLS version, group of the key exchange (or why there is none), and whether its keys are post-quantum, or who decided that they are not. Each hop counts once; those without a TLS handshake that went through are left out. More than 64 combinations are added up as ~other.
    HOPS_CRYPTOGRAPHY: Gauge "hopsight_hops_cryptography" ["version", "group", "post_quantum"];

    /// Always 1; the labels say what the proxy's configuration intends for a hop: the upstream's name there, the scheme, whether a client certificate is configured and whether the upstream's certificate is to be checked. Absent where no configuration names the upstream, or several upstreams share the address.
    INTENT_INFO: Gauge "hopsight_intent_info"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "name", "scheme", "client_certificate", "verify"];
    /// Whether a hop violates a rule of its policy or configuration: 1 while it does, 0 once it no longer does. Absent where it never did.
    POLICY_VIOLATION: Gauge "hopsight_policy_violation" ["proxy", "proxy_namespace", "proxy_workload", "upstream", "rule"];
    /// When the exemption ends by which a hop may be what it is, in seconds since the Unix epoch, by the rules that it need not meet. Absent for hops that need none.
    HOP_EXEMPT_UNTIL: Gauge "hopsight_hop_exempt_until_timestamp_seconds"
        ["proxy", "proxy_namespace", "proxy_workload", "upstream", "rule", "exemption", "owner"];
    /// When an exemption of the policy file ends, in seconds since the Unix epoch. One that ended counts for nothing.
    POLICY_EXEMPTION_UNTIL: Gauge "hopsight_policy_exemption_until_timestamp_seconds"
        ["exemption", "owner"];
    /// Hops that a policy of the policy file applies to, on this node. A policy that applies to none anywhere requires nothing. The policies beyond the first 1000 are added up as ~other.
    POLICY_MATCHED_HOPS: Gauge "hopsight_policy_matched_hops" ["policy"];
    /// Time since the first offending connection of an open violation.
    DRIFT_OPEN: Gauge "hopsight_drift_open_seconds" ["proxy", "proxy_namespace", "proxy_workload", "upstream", "rule"];
    /// Time from the cause of a violation to its detection: from when the proxy loaded the configuration that caused it, else from the first offending connection. Violations whose cause is older than the agent are left out. With a state directory the newest ones from before a restart count too.
    DRIFT_DETECTION: Histogram "hopsight_drift_detection_seconds" [];
    /// Time from the detection of a violation to the first good connection after its cause was gone. With a state directory the newest ones from before a restart count too.
    DRIFT_REMEDIATION: Histogram "hopsight_drift_remediation_seconds" [];
    /// Whether a proxy's configuration on disk is newer than the one it is running: 1 or 0.
    PROXY_CONFIG_PENDING_RELOAD: Gauge "hopsight_proxy_config_pending_reload"
        ["proxy", "proxy_namespace", "proxy_workload"];
    /// Always 1; the labels say which workload a proxy in a pod is. Absent for proxies outside Kubernetes, and where no source knows the pod.
    PROXY_INFO: Gauge "hopsight_proxy_info"
        ["proxy", "proxy_namespace", "proxy_workload_kind", "proxy_workload"];
    /// Age of the oldest report on a connection that is not recorded yet; 0 while none waits. A report waits a second at most for what is read of its proxy.
    REPORT_WAITING: Gauge "hopsight_report_waiting_seconds" [];
    /// Connection reports that were not evaluated against policy, by reason.
    POLICY_REPORTS_DROPPED: Counter "hopsight_policy_reports_dropped_total" ["reason"];

    /// Hops in the hop table.
    HOPS: Gauge "hopsight_hops" [];
    /// Limit on hops in the hop table.
    HOPS_LIMIT: Gauge "hopsight_hops_limit" [];
    /// Finished connections counted under upstream="~other" because the hop table was full.
    HOPS_OVERFLOWED: Counter "hopsight_hops_overflowed_connections_total" [];
    /// Hops forgotten because they had been silent for longer than the configured time.
    HOPS_EXPIRED: Counter "hopsight_hops_expired_total" [];
    /// Hops forgotten for others, because the hop table was full and their owner had most of it.
    HOPS_EVICTED: Counter "hopsight_hops_evicted_total" [];

    /// Time from when the deciding byte left the kernel to the verdict.
    VERDICT_LATENCY: Histogram "hopsight_verdict_latency_seconds" [];
    /// Connections for which two kinds of evidence contradicted each other; their verdict is unknown or that of the stronger evidence.
    EVIDENCE_CONFLICTS: Counter "hopsight_evidence_conflicts_total" [];

    /// Events received from the kernel, by kind.
    EVENTS_RECEIVED: Counter "hopsight_events_received_total" ["kind"];
    /// Events the kernel programs could not deliver, by kind and reason: the ring buffer was full (ring_full), a packet's bytes could not be read (unreadable), a socket's state could not be made, so that its connection is not watched (no_storage), a process's library showed more in a second than is taken from one (rate), or more of the tickets of one connection (ticket_rate). Exact.
    EVENTS_LOST: Counter "hopsight_events_lost_total" ["kind", "reason"];
    /// Events from the kernel that could not be decoded.
    EVENTS_UNDECODABLE: Counter "hopsight_events_undecodable_total" [];
    /// Events about connections that are not, or no longer, followed.
    EVENTS_UNTRACKED: Counter "hopsight_events_untracked_total" [];
    /// Directions of connections whose capture ended because the byte budget was spent.
    CAPTURE_BUDGET_REACHED: Counter "hopsight_capture_budget_reached_total" [];
    /// Connections older than the agent that were adopted.
    CONNECTIONS_ADOPTED: Counter "hopsight_connections_adopted_total" [];
    /// Connections whose handshake is being followed.
    CONNECTIONS_TRACKED: Gauge "hopsight_connections_tracked" [];
    /// Connections given up before their verdict was certain, by reason.
    CONNECTIONS_EVICTED: Counter "hopsight_connections_evicted_total" ["reason"];
    /// Captured bytes that reassembly did not use, by reason.
    REASSEMBLY_DROPPED_BYTES: Counter "hopsight_reassembly_dropped_bytes_total" ["reason"];
    /// Where kernel programs are attached. Of kind network and process: each program, 1 while it is and 0 once it is not. Of kind library: each TLS stack that can be read, the number of places in files with a probe; 0 where no watched process has it, and while sampling pauses.
    PROBES_ATTACHED: Gauge "hopsight_probes_attached" ["probe", "kind"];
    /// Time spent in a kernel program, where the kernel keeps this statistic (sysctl kernel.bpf_stats_enabled).
    PROGRAM_RUN_SECONDS: Counter "hopsight_program_run_seconds_total" ["program"];
    /// Runs of a kernel program, where the kernel keeps this statistic (sysctl kernel.bpf_stats_enabled).
    PROGRAM_RUNS: Counter "hopsight_program_runs_total" ["program"];
    /// Watched processes, by whether their TLS library can be probed.
    LIBRARY_PROCESSES: Gauge "hopsight_library_processes" ["status"];
    /// Handshakes shown by a TLS library: matched to a connection, unmatched, or damaged (out of the protocol's order, or cut: they count for nothing).
    LIBRARY_TRANSCRIPTS: Counter "hopsight_library_transcripts_total" ["result"];

    /// Hits of the library probes: all of them (hit), and those not used, by reason.
    LIBRARY_PROBE_HITS: Counter "hopsight_library_probe_hits_total" ["result"];
    /// Bytes of handshake messages delivered by the library probes.
    LIBRARY_BYTES: Counter "hopsight_library_bytes_total" [];

    /// Events not written because the output could not keep up or failed, by output.
    EVENT_OUTPUT_DROPPED: Counter "hopsight_event_output_dropped_total" ["output"];
    /// Exports of the metrics over OTLP, by result: sent or failed. Absent without OTLP.
    OTLP_METRIC_EXPORTS: Counter "hopsight_otlp_metric_exports_total" ["result"];
    /// State of a part of the agent: 1 for the current state, 0 for the others.
    COMPONENT_STATE: Gauge "hopsight_component_state" ["component", "state"];
    /// Always 1; the labels say what is running.
    BUILD_INFO: Gauge "hopsight_build_info" ["version", "revision", "arch"];

    /// Processor time used by the agent, user and system together.
    PROCESS_CPU_SECONDS: Counter "process_cpu_seconds_total" [];
    /// Resident memory of the agent.
    PROCESS_RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" [];
    /// Virtual memory of the agent.
    PROCESS_VIRTUAL_MEMORY: Gauge "process_virtual_memory_bytes" [];
    /// Open file descriptors of the agent.
    PROCESS_OPEN_FDS: Gauge "process_open_fds" [];
    /// Limit on open file descriptors of the agent.
    PROCESS_MAX_FDS: Gauge "process_max_fds" [];
    /// Threads of the agent.
    PROCESS_THREADS: Gauge "process_threads" [];
    /// When the agent started, in seconds since the Unix epoch.
    PROCESS_START_TIME: Gauge "process_start_time_seconds" [];
}

/// Upper bounds of [`VERDICT_LATENCY`], in seconds.
pub const VERDICT_LATENCY_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Upper bounds of [`DRIFT_DETECTION`], in seconds.
pub const DRIFT_DETECTION_BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3600.0,
];

/// Upper bounds of [`DRIFT_REMEDIATION`], in seconds: a second to a month.
pub const DRIFT_REMEDIATION_BUCKETS: &[f64] =
    &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0, 2_592_000.0];

/// The catalogue as a Markdown page (`METRICS.md`).
#[must_use]
pub fn markdown() -> String {
    use std::fmt::Write as _;

    let mut page = String::from(
        "# Metrics\n\n\
         Generated from `agent/export/src/metrics/catalogue.rs` by \
         `cargo xtask metrics`; a test compares the two.\n\n\
         The values of `security`, `client_auth`, `evidence`, `reason` and `server_verified` are \
         the words of `agent/core/src/model.rs`. `proxy` is `namespace/workload` of a pod that is known by \
         name, else the process name; `proxy_namespace` and `proxy_workload` are its two parts, \
         absent for a process name (`hopsight_proxy_info` has the kind of workload). `upstream` is the \
         upstream's name in the proxy's configuration (an `upstream` block, or a host and port), \
         else the Kubernetes service connected to (`namespace/service:port`, where services are \
         watched), else `ip:port`; the addresses behind a name are in `/hops`. The server name of \
         a handshake is never a label, because a client may choose it. Where services are not \
         watched, `ip:port` joins with `kube_pod_info` or `kube_endpoint_address` at query time: \
         `label_replace(hopsight_hop_security, \"pod_ip\", \"$1\", \"upstream\", \"(.+):[0-9]+\") \
         * on (pod_ip) group_left (namespace, pod) \
         kube_pod_info{host_network=\"false\"}`. `upstream=\"~other\"` stands \
         for the upstreams beyond the limit on hops. Series of a hop that has been silent for `hops.expiry_seconds` \
         disappear.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, help) = (metric.kind.as_str(), metric.help());
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {kind} | {} | {help} |", metric.name, labels.join(", "));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(names.insert(name), "{name} is declared twice");
            assert!(name.starts_with("hopsight_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
            assert!(metric.help().ends_with('.'), "{name}: help is not a sentence");
            assert!(!metric.help().contains('|'), "{name}: help would break the table");
        }
    }

    #[test]
    fn metrics_page_is_current() {
        let page = include_str!("../../../../METRICS.md");
        assert!(page == markdown(), "METRICS.md differs from the code; run `cargo xtask metrics`");
    }
}
