//! Dashboards and rules: what they name exists, and they keep the rules that Grafana's
//! dashboard-linter checks (no Grafana is needed for that).

mod lint;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use anyhow::Context as _;
use hopsight_export::metrics::catalogue::{METRICS, MetricKind};
use lint::{RULES, expressions, label_queries, panels};
use serde_json::{Value, json};

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "dashboards"].iter().collect()
}

/// The files below `dashboards/` with this ending, by path, and their text.
fn files(ending: &str) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for dir in ["", "tests", "runbooks"].map(|dir| directory().join(dir)) {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == ending) {
                let text = fs::read_to_string(&path)?;
                found.push((path, text));
            }
        }
    }
    anyhow::ensure!(!found.is_empty(), "no .{ending} file below {}", directory().display());
    Ok(found)
}

fn dashboards() -> anyhow::Result<Vec<(PathBuf, Value)>> {
    let parsed = files("json")?.into_iter().map(|(path, text)| {
        let json = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        Ok((path, json))
    });
    parsed.collect()
}

#[test]
fn dashboards_are_those_the_program_makes() -> anyhow::Result<()> {
    let made: BTreeMap<String, String> = hopsight_tools::dashboards::files()?.into_iter().collect();
    for (path, text) in files("json")? {
        let name = path.file_name().and_then(|name| name.to_str()).context("a file name")?;
        let now =
            made.get(name).with_context(|| format!("{} is made by no program", path.display()))?;
        let advice = "run `cargo xtask dashboards`";
        assert!(*now == text, "{} differs; {advice}", path.display());
    }
    Ok(())
}

#[test]
fn every_name_exists() -> anyhow::Result<()> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for metric in METRICS {
        known.insert(metric.name.into());
        if metric.kind == MetricKind::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)));
        }
    }
    for ending in ["json", "yaml", "md"] {
        for (path, text) in files(ending)? {
            // A colon belongs to the name of a recording rule, which another test looks at.
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            for name in words.filter(|word| word.starts_with("hopsight_")) {
                assert!(known.contains(name), "{}: no metric {name}", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn recorded_names_are_used_as_they_are_recorded() -> anyhow::Result<()> {
    let rules = files("yaml")?;
    let is_recorded_name =
        |word: &&str| word.matches(':').count() == 2 && word.contains("hopsight");
    let recorded: BTreeSet<_> = rules
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    for (path, text) in &rules {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
        for name in words.filter(is_recorded_name) {
            assert!(recorded.contains(name), "{}: {name} is not recorded", path.display());
        }
    }
    Ok(())
}

#[test]
fn dashboards_keep_the_rules_of_the_linter() -> anyhow::Result<()> {
    for (path, dashboard) in dashboards()? {
        for (name, rule) in RULES {
            let complaints = rule(&dashboard);
            assert!(complaints.is_empty(), "{}: {name}: {complaints:#?}", path.display());
        }
    }
    Ok(())
}

/// A rule that complains about nothing is none: each is broken in a good dashboard.
#[test]
fn every_rule_finds_what_it_is_for() -> anyhow::Result<()> {
    let variable = |name: &str, dashboard: &Value| -> anyhow::Result<usize> {
        let list = dashboard["templating"]["list"].as_array().context("no variables")?;
        list.iter().position(|variable| variable["name"] == name).context("no such variable")
    };
    let job =
        |dashboard: &Value| variable("job", dashboard).map(|at| format!("/templating/list/{at}"));
    let (_, good) = dashboards()?.swap_remove(0);
    let job = job(&good)?;
    let instance = format!("/templating/list/{}", variable("instance", &good)?);
    let at = panels(&good)[0].0["id"].as_u64().context("a panel without id")? - 1;
    let panel = format!("/panels/{at}");
    let expr = format!("{panel}/targets/0/expr");
    let agents = r#"job=~"$job", instance=~"$instance""#;
    for (rule, place, value) in [
        ("template-datasource-rule", "/templating/list/0/name".into(), json!("ds")),
        ("template-job-rule", format!("{job}/multi"), json!(false)),
        ("template-instance-rule", format!("{instance}/allValue"), json!(".*")),
        ("template-label-promql-rule", format!("{job}/query/query"), json!("values(up, job)")),
        ("template-on-time-change-reload-rule", format!("{job}/refresh"), json!(1)),
        ("panel-datasource-rule", format!("{panel}/targets/0/datasource/uid"), json!("prom")),
        ("panel-title-description-rule", format!("{panel}/description"), json!("")),
        ("panel-units-rule", format!("{panel}/fieldConfig/defaults/unit"), json!("furlong")),
        ("panel-no-targets-rule", format!("{panel}/targets"), json!([])),
        ("target-rate-interval-rule", expr.clone(), json!(format!("rate(a{{{agents}}}[5m])"))),
        ("target-job-rule", expr.clone(), json!(r#"a{instance=~"$instance"}"#)),
        ("target-instance-rule", expr.clone(), json!(r#"a{job=~"$job"}"#)),
        ("target-counter-agg-rule", expr.clone(), json!(format!("sum(a_total{{{agents}}})"))),
        ("uneditable-dashboard-rule", "/editable".into(), json!(true)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(&place).with_context(|| format!("{rule}: no {place}"))? = value;
        let (_, check) = RULES.iter().find(|(name, _)| *name == rule).context("no such rule")?;
        assert!(!check(&bad).is_empty(), "{rule}: {place}");
    }
    Ok(())
}

#[test]
fn dashboards_fit_together() -> anyhow::Result<()> {
    for (path, dashboard) in dashboards()? {
        let file = path.display();
        assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), dashboard["uid"].as_str());
        let linked = dashboard["links"][0]["tags"] == json!(["hopsight"]);
        assert!(linked, "{file}: links to the other dashboards");
        let names: Vec<_> = label_queries(&dashboard).into_iter().map(|(name, ..)| name).collect();
        for name in ["cluster", "namespace", "job", "instance"] {
            assert!(names.contains(&name), "{file}: {name} cannot be chosen");
        }
        let mut ids = BTreeSet::new();
        for (panel, name) in panels(&dashboard) {
            assert!(ids.insert(panel["id"].as_u64()), "{name}: its id is unique");
        }
    }
    Ok(())
}

#[test]
fn panels_query_valid_promql() -> anyhow::Result<()> {
    let mut rules = vec!["groups:\n- name: panels\n  rules:".to_owned()];
    for (_, dashboard) in dashboards()? {
        let panels = panels(&dashboard);
        let shown = panels.iter().flat_map(|(panel, _)| expressions(panel));
        let chosen = label_queries(&dashboard).into_iter().map(|(_, selector, _)| selector);
        for expression in shown.chain(chosen) {
            let count = rules.len();
            let expression = expression.replace("$__rate_interval", "5m").replace('$', "");
            let expression = Value::from(expression);
            rules.push(format!("  - record: panel_{count}\n    expr: {expression}"));
        }
    }
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), rules.join("\n"))?;
    let Ok(output) = Command::new("promtool").args(["check", "rules"]).arg(file.path()).output()
    else {
        hopsight_test_support::not_run("promtool on the queries", "promtool is not installed");
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Ok(())
}

#[test]
fn every_alert_is_explained_and_tested() -> anyhow::Result<()> {
    let alerts = fs::read_to_string(directory().join("alerts.yaml"))?;
    let tests: String = files("yaml")?
        .into_iter()
        .filter(|(path, _)| path.parent().is_some_and(|dir| dir.ends_with("tests")))
        .map(|(_, text)| text)
        .collect();
    let mut pages = BTreeSet::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap_or_default();
        for key in ["expr:", "for:", "severity:", "annotations:"] {
            assert!(rule.contains(key), "{name}: {key}");
        }
        // A second rule of an alert may share its annotations by a YAML alias.
        if !rule.contains("annotations: *") {
            for key in ["summary:", "description:"] {
                assert!(rule.contains(key), "{name}: {key}");
            }
            let page = format!("runbook_url: dashboards/runbooks/{name}.md");
            assert!(rule.contains(&page), "{name}: {page}");
        }
        let text = fs::read_to_string(directory().join(format!("runbooks/{name}.md")))
            .with_context(|| format!("{name} has no runbook"))?;
        for part in [&format!("# {name}\n"), "**Meaning.**", "**Check.**", "**Fix.**"] {
            assert!(text.contains(part), "{name}: its runbook has no {part}");
        }
        let mentions = format!("alertname: {name}\n");
        let expects = |what: &str| {
            tests.split(&mentions).skip(1).any(|test| test.trim_start().starts_with(what))
        };
        assert!(expects("exp_alerts:\n"), "{name}: no test in which it fires");
        assert!(expects("exp_alerts: []\n"), "{name}: no test in which it stays silent");
        if let Some(cause) = rule.lines().find_map(|line| line.trim().strip_prefix("cause: ")) {
            assert!(tests.contains(&format!("cause: {cause},")), "{name}: {cause} is not tested");
        }
        pages.insert(format!("{name}.md"));
    }
    let is_runbook = |path: &PathBuf| path.parent().is_some_and(|dir| dir.ends_with("runbooks"));
    for (path, _) in files("md")?.into_iter().filter(|(path, _)| is_runbook(path)) {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(pages.contains(file), "{}: a runbook without alert", path.display());
    }
    Ok(())
}
