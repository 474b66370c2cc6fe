//! Dashboards and rules: what they name exists, and they keep the rules that Grafana's
//! dashboard-linter checks (no Grafana is needed for that).

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use hopsight::export::metrics::{METRICS, MetricKind};
use serde_json::Value;

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

/// Panels that show something, with a name for messages.
fn panels(dashboard: &Value) -> Vec<(&Value, String)> {
    let all = dashboard["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = all.iter().filter(|panel| panel["type"] != "row");
    shown.map(|panel| (panel, format!("{} / {}", dashboard["uid"], panel["title"]))).collect()
}

fn expressions(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    targets.iter().filter_map(|target| target["expr"].as_str()).collect()
}

#[test]
fn dashboards_are_those_the_program_makes() -> anyhow::Result<()> {
    let made = tempfile::tempdir()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--package", "hopsight", "--example", "dashboards", "--"])
        .arg(made.path())
        .status()
        .context("start cargo")?;
    assert!(status.success(), "the dashboards example ended with {status}");
    for (path, text) in files("json")? {
        let name = path.file_name().context("a file name")?;
        let now = fs::read_to_string(made.path().join(name))
            .with_context(|| format!("{} is made by no program", path.display()))?;
        let advice = "run `cargo run -p hopsight --example dashboards -- dashboards`";
        assert!(now == text, "{} differs; {advice}", path.display());
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
fn panels_keep_the_rules() -> anyhow::Result<()> {
    for (path, dashboard) in dashboards()? {
        let file = path.display();
        assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), dashboard["uid"].as_str());
        assert_eq!(dashboard["editable"], false, "{file}");
        let linked = dashboard["links"][0]["tags"] == serde_json::json!(["hopsight"]);
        assert!(linked, "{file}: links to the other dashboards");
        let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
        for name in ["datasource", "job", "instance", "cluster", "namespace"] {
            assert!(variables.iter().any(|variable| variable["name"] == name), "{file}: {name}");
        }
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            let name = &variable["name"];
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{file}: {name}");
            assert_eq!(variable["refresh"], 2, "{file}: {name} follows the time range");
        }
        let mut ids = BTreeSet::new();
        for (panel, name) in panels(&dashboard) {
            assert!(ids.insert(panel["id"].as_u64()), "{name}: its id is unique");
            for text in ["title", "description"] {
                assert!(
                    panel[text].as_str().is_some_and(|text| !text.is_empty()),
                    "{name}: {text}"
                );
            }
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(unit.as_str().is_some_and(|unit| !unit.is_empty()), "{name}: unit");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
            assert!(!expressions(panel).is_empty(), "{name}: no query");
            for expression in expressions(panel) {
                check_expression(expression, &name);
            }
        }
    }
    Ok(())
}

fn check_expression(expression: &str, panel: &str) {
    for selector in expression.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
        for matcher in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
            assert!(selector.0.contains(matcher), "{panel}: {matcher} is missing in {expression}");
        }
    }
    for range in expression.split('[').skip(1).filter_map(|rest| rest.split_once(']')) {
        assert_eq!(range.0, "$__rate_interval", "{panel}: {expression}");
    }
    for (at, _) in expression.match_indices("_total{") {
        let start =
            expression[..at].rfind("hopsight_").or_else(|| expression[..at].rfind("process_"));
        let before = &expression[..start.unwrap_or(0)];
        assert!(before.ends_with("rate("), "{panel}: a counter without rate in {expression}");
    }
}

#[test]
fn panels_query_valid_promql() -> anyhow::Result<()> {
    let mut rules = vec!["groups:\n- name: panels\n  rules:".to_owned()];
    for (_, dashboard) in dashboards()? {
        for expression in panels(&dashboard).iter().flat_map(|(panel, _)| expressions(panel)) {
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
        println!("SKIP: promtool is not installed (Debian package prometheus)");
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
        let fires = tests
            .split(&mentions)
            .skip(1)
            .any(|test| test.trim_start().starts_with("exp_alerts:\n"));
        assert!(fires, "{name}: no test in which it fires");
        pages.insert(format!("{name}.md"));
    }
    for (path, _) in files("md")? {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(pages.contains(file), "{}: a runbook without alert", path.display());
    }
    Ok(())
}
