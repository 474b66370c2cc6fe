//! What single values of the chart do.

use std::{fs, process::Command};

use hopsight_posture::policy::{
    exempt::PolicyDocument,
    rules::{ClientCertificate, VerifyUpstream},
};

use crate::chart::{deploy, object, rendered};

#[test]
fn every_watch_has_its_rights() {
    for (values, wanted) in [
        ("{}", &["pods"][..]),
        ("kubernetes: {services: true}", &["pods", "services", "endpointslices"]),
        (
            "kubernetes: {gateway: true}",
            &[
                "pods",
                "services",
                "endpointslices",
                "backendtlspolicies, gateways, httproutes, grpcroutes, tlsroutes, tcproutes",
            ],
        ),
        (
            "kubernetes: {mesh: true}",
            &[
                "pods",
                "services",
                "endpointslices",
                "destinationrules",
                "peerauthentications",
                "servers, authorizationpolicies, meshtlsauthentications, serverauthorizations",
            ],
        ),
    ] {
        let Some(rendered) = rendered("every_watch_has_its_rights", values) else { return };
        let role = object(&rendered, "ClusterRole");
        let resources = role.lines().filter_map(|line| line.trim().strip_prefix("resources: ["));
        let resources: Vec<_> = resources.map(|list| list.trim_end_matches(']')).collect();
        assert_eq!(resources, wanted, "{values}");
    }
}

/// Two releases of one name, in two namespaces, share nothing.
#[test]
fn objects_of_the_cluster_have_the_namespace_in_their_name() {
    let name = "objects_of_the_cluster_have_the_namespace_in_their_name";
    let Some(rendered) = rendered(name, "{}") else { return };
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        let object = object(&rendered, kind);
        assert!(object.contains("\n  name: hopsight.hopsight\n"), "{object}");
    }
}

/// A slow start is not taken for a hang.
#[test]
fn probes_wait_for_the_start() {
    let Some(rendered) = rendered("probes_wait_for_the_start", "{}") else { return };
    let daemon_set = object(&rendered, "DaemonSet");
    let probe = |name: &str| {
        let (_, rest) = daemon_set.split_once(&format!(" {name}:\n")).unwrap();
        rest.lines().nth(1).unwrap().trim().to_owned()
    };
    assert_eq!(probe("startupProbe"), "path: /livez");
    assert_eq!(probe("livenessProbe"), "path: /livez");
    assert_eq!(probe("readinessProbe"), "path: /readyz");
}

#[test]
fn a_priority_class_is_made_and_used() {
    let name = "a_priority_class_is_made_and_used";
    let Some(rendered) = rendered(name, "priorityClass: {create: true}") else { return };
    assert!(object(&rendered, "PriorityClass").contains("\n  name: hopsight.hopsight\n"));
    let used = "\n      priorityClassName: hopsight.hopsight\n";
    assert!(object(&rendered, "DaemonSet").contains(used), "{rendered}");
}

/// An alert waits for as long as the values say, and is otherwise as it was.
#[test]
fn alerts_wait_for_as_long_as_values_say() {
    let name = "alerts_wait_for_as_long_as_values_say";
    let expected = "exp_alerts: [{exp_labels: {severity: warning, instance: n1, proxy: haproxy}, \
                    exp_annotations: {summary: haproxy on n1 goes on with sessions that nobody saw begin, \
                    description: \"haproxy goes on resuming TLS sessions from before the agent's time on \
                    1 hops. Whether they are mutual is not known, and they do not end by themselves: a \
                    reload of the proxy decides it.\", \
                    runbook_url: 'https://x/dashboards/runbooks/SessionsFromBeforeAgent.md'}}]";
    let dir = tempfile::tempdir().unwrap();
    for (waits, quiet, fires) in
        [("", "59m", "61m"), ("SessionsFromBeforeAgent: 3h", "179m", "181m")]
    {
        let values = format!(
            "prometheusRule: {{enabled: true, runbookUrlPrefix: 'https://x/', for: {{{waits}}}}}"
        );
        let Some(rendered) = rendered(name, &values) else { return };
        let (_, groups) = object(&rendered, "PrometheusRule").split_once("\nspec:\n").unwrap();
        fs::write(dir.path().join("rules.yaml"), groups.replace("\n  ", "\n")).unwrap();
        let tests = dir.path().join("tests.yaml");
        let text = format!(
            "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  \
             input_series:\n  - series: hopsight_hop_older_sessions_timestamp_seconds\
             {{instance=\"n1\", proxy=\"haproxy\", upstream=\"a:1\"}}\n    values: 7x200\n  \
             alert_rule_test:\n\
             \x20 - {{eval_time: {quiet}, alertname: SessionsFromBeforeAgent, exp_alerts: []}}\n\
             \x20 - {{eval_time: {fires}, alertname: SessionsFromBeforeAgent, {expected}}}\n"
        );
        fs::write(&tests, text).unwrap();
        let Ok(output) = Command::new("promtool").args(["test", "rules"]).arg(&tests).output()
        else {
            hopsight_test_support::not_run(name, "promtool is not installed");
            return;
        };
        assert!(output.status.success(), "{waits}: {output:?}");
    }
}

/// A collector on the node has the node's address, and the network policy lets the agent reach it.
#[test]
fn a_collector_is_reached() {
    for (endpoint, variable, dns) in [
        ("http://$(HOST_IP):4318", true, false),
        ("http://10.0.0.9:4318/otlp", false, false),
        ("http://[fd00::9]:4318", false, false),
        ("https://collector.observability.svc:4318", false, true),
    ] {
        let values = format!(
            "{{otlp: {{endpoint: '{endpoint}'}}, kubernetes: {{enabled: false}}, \
             networkPolicy: {{enabled: true}}}}"
        );
        let Some(rendered) = rendered("a_collector_is_reached", &values) else { return };
        let daemon_set = object(&rendered, "DaemonSet");
        assert!(daemon_set.contains(&format!("- \"--otlp={endpoint}\"\n")), "{daemon_set}");
        assert_eq!(daemon_set.contains("fieldPath: status.hostIP"), variable, "{endpoint}");
        let egress = object(&rendered, "NetworkPolicy").split_once("egress:").unwrap().1;
        assert!(egress.contains("port: 4318\n"), "{endpoint}: {egress}");
        assert_eq!(egress.contains("port: 53\n"), dns, "{endpoint}: {egress}");
    }
}

/// What lets the agent in at a collector comes from secrets.
#[test]
fn a_collector_is_reached_with_a_token_and_over_tls() {
    let name = "a_collector_is_reached_with_a_token_and_over_tls";
    let values = "otlp: {endpoint: 'https://c.o.svc:4318', headersSecretName: a, caSecretName: b}";
    let Some(rendered) = rendered(name, values) else { return };
    let pod = object(&rendered, "DaemonSet");
    for wanted in [
        "name: OTEL_EXPORTER_OTLP_HEADERS\n",
        "key: headers\n",
        "value: /etc/hopsight/otlp-ca/ca.crt\n",
        "mountPath: /etc/hopsight/otlp-ca\n",
        "secretName: b\n",
    ] {
        assert!(pod.contains(wanted), "{wanted} is not in {pod}");
    }
}

/// The constraints admit what the pod asks for: its capabilities, its volumes, its SELinux type.
#[test]
fn constraints_of_openshift_admit_the_pod() {
    let name = "constraints_of_openshift_admit_the_pod";
    let values = "openshift: {securityContextConstraints: true}";
    let Some(rendered) = rendered(name, values) else { return };
    let (pod, admitted) =
        (object(&rendered, "DaemonSet"), object(&rendered, "SecurityContextConstraints"));
    let list = |text: &str, after: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| line.trim() != after).skip(1);
        let items = lines.map_while(|line| line.trim().strip_prefix("- "));
        items.map(str::to_owned).collect()
    };
    let capabilities = list(pod, "add:");
    assert!(capabilities.len() > 5, "{pod}");
    assert_eq!(list(admitted, "allowedCapabilities:"), capabilities);
    let volumes = list(admitted, "volumes:");
    // Those that the kubelet adds (the token) are projected.
    for kind in ["configMap", "hostPath", "projected", "secret"] {
        assert!(volumes.iter().any(|volume| volume == kind), "{volumes:?}");
    }
    assert!(pod.contains("type: spc_t\n"), "{pod}");
    assert!(admitted.contains("- system:serviceaccount:hopsight:hopsight\n"), "{admitted}");
}

/// `helm test` asks an agent the way that the agents answer, and is let through.
#[test]
fn the_test_of_the_chart_asks_an_agent() {
    let name = "the_test_of_the_chart_asks_an_agent";
    let scrapers = "networkPolicy: {enabled: true, scrapers: [{podSelector: {}}]}";
    let tls = "http: {tls: {secretName: a, clientCaSecretName: b}}\ntest: {tlsSecretName: c}";
    for (values, wanted) in [
        (scrapers, &["- --address=http://hopsight-test.hopsight.svc:9464\n"][..]),
        (tls, &["- --address=https://hopsight-test.", "- --cacert=", "- --cert=", "- --key="]),
    ] {
        let Some(rendered) = rendered(name, values) else { return };
        let pod = object(&rendered, "Pod");
        for argument in wanted {
            assert!(pod.contains(argument), "{argument} is not in {pod}");
        }
        assert!(pod.contains("helm.sh/hook: test\n") && pod.contains("drop: [ALL]\n"), "{pod}");
        if values == scrapers {
            let network = object(&rendered, "NetworkPolicy");
            assert!(network.contains("app.kubernetes.io/name: hopsight-test\n"), "{network}");
        }
    }
    for values in ["test: {enabled: false}", "http: {tls: {secretName: a}}"] {
        let Some(rendered) = rendered(name, values) else { return };
        assert!(!rendered.contains("helm.sh/hook"), "{values}: {rendered}");
    }
}

/// What stands under `policy` in the values, as text or as YAML, is what the agent reads.
#[test]
fn policy_in_values_is_what_the_agent_reads() {
    let name = "policy_in_values_is_what_the_agent_reads";
    let text = "policy: |\n  [[policies]]\n  match.upstream = \"payments\"\n  require = \"mtls\"\n";
    let yaml = r#"
policy:
  policies:
    - name: "a \"quoted\" <name>"
      match: {upstream: [payments, "billing-*"], cidr: 10.0.0.0/8, port: [443, 8443]}
      require: mtls
      min_version: "1.2"
      verify_upstream: true
      allowed_client_sans: ["spiffe://example.org/*"]
      expiry_margin: 14d
    - require: tls
      client_certificate: forbidden
      forbidden_ciphers: ["*_CBC_*"]
  exempt:
    - match: {proxy: shop/edge, port: 80}
      rules: [plaintext]
      owner: payments team
      reason: TLS comes with the new mainframe
      until: "2027-03-31"
"#;
    let (mut read, mut exemptions) = (Vec::new(), Vec::new());
    for values in [text, yaml] {
        let Some(rendered) = rendered(name, values) else { return };
        let lines = rendered.lines().skip_while(|line| line.trim() != "policy.toml: |").skip(1);
        let lines = lines.take_while(|line| line.trim().is_empty() || line.starts_with("    "));
        let toml: String = lines.flat_map(|line| [line.trim_start(), "\n"]).collect();
        let document = PolicyDocument::parse(&toml);
        let document = document.unwrap_or_else(|error| panic!("{error} in {toml}"));
        let own = document.policies.policies().iter().filter(|policy| !policy.built_in).cloned();
        exemptions.extend(document.exemptions.iter().map(|one| (one.owner.clone(), one.until)));
        read.push(own.collect::<Vec<_>>());
    }
    assert_eq!(read[0].len(), 1);
    // `date -u -d 2027-04-01 +%s`
    assert_eq!(exemptions, [("payments team".to_owned(), 1_806_537_600)]);
    let [first, second] = &read[1][..] else { panic!("{read:?}") };
    assert_eq!(first.name, "a \"quoted\" <name>");
    assert_eq!(first.matches.upstream, ["payments", "billing-*"]);
    assert_eq!(first.matches.port, [443, 8443]);
    assert_eq!(first.verify_upstream, VerifyUpstream::Always);
    assert_eq!(first.allowed_client_sans, ["spiffe://example.org/*"]);
    assert_eq!(second.client_certificate, ClientCertificate::Forbidden);
}

#[test]
fn the_readme_has_every_value_and_its_examples_render() {
    let chart = deploy().join("chart");
    let readme = fs::read_to_string(chart.join("README.md")).unwrap();
    let values = fs::read_to_string(chart.join("values.yaml")).unwrap();
    let keys = values.lines().filter_map(|line| Some(line.split_once(':')?.0));
    let keys: Vec<_> =
        keys.filter(|key| key.starts_with(|c: char| c.is_ascii_alphabetic())).collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not in the chart's README");
    }
    let examples: Vec<_> = readme.split("```yaml\n").skip(1).collect();
    assert!(examples.len() >= 7);
    for example in examples {
        let values = example.split("```").next().unwrap();
        let name = "the_readme_has_every_value_and_its_examples_render";
        if rendered(name, values).is_none() {
            return;
        }
    }
}
