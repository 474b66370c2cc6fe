//! The rules of Grafana's dashboard-linter, by the names it has for them. The linter itself is a Go
//! program that no package carries; promtool checks the PromQL in its place.

use serde_json::Value;

/// A rule: its name, and what a dashboard does against it.
pub type Rule = (&'static str, fn(&Value) -> Vec<String>);

/// Every rule but those about PromQL syntax and about data sources other than Prometheus.
pub const RULES: &[Rule] = &[
    ("template-datasource-rule", template_datasource),
    ("template-job-rule", |dashboard| templated(dashboard, "job", "Job")),
    ("template-instance-rule", |dashboard| templated(dashboard, "instance", "Instance")),
    ("template-label-promql-rule", template_label_promql),
    ("template-on-time-change-reload-rule", template_on_time_change_reload),
    ("panel-datasource-rule", panel_datasource),
    ("panel-title-description-rule", panel_title_description),
    ("panel-units-rule", panel_units),
    ("panel-no-targets-rule", panel_no_targets),
    ("target-rate-interval-rule", target_rate_interval),
    ("target-job-rule", |dashboard| target_matcher(dashboard, r#"job=~"$job""#)),
    ("target-instance-rule", |dashboard| target_matcher(dashboard, r#"instance=~"$instance""#)),
    ("target-counter-agg-rule", target_counter_agg),
    ("uneditable-dashboard-rule", uneditable),
];

/// Grafana's names of the units that our panels use.
const UNITS: &[&str] = &["short", "s", "bytes", "percentunit", "cps", "Bps"];

const DATASOURCE: &str = "${datasource}";

/// Panels that show something, with a name for messages.
pub fn panels(dashboard: &Value) -> Vec<(&Value, String)> {
    let shown = list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row");
    shown.map(|panel| (panel, format!("{} / {}", dashboard["uid"], panel["title"]))).collect()
}

/// The PromQL of a panel.
pub fn expressions(panel: &Value) -> Vec<&str> {
    list(&panel["targets"]).iter().filter_map(|target| target["expr"].as_str()).collect()
}

/// Name, selector and label of the `label_values(selector, label)` variables.
pub fn label_queries(dashboard: &Value) -> Vec<(&str, &str, &str)> {
    queried(dashboard).filter_map(label_query).collect()
}

fn label_query(variable: &Value) -> Option<(&str, &str, &str)> {
    let query = variable["query"]["query"].as_str()?;
    let inner = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    let (selector, label) = inner.rsplit_once(", ")?;
    Some((variable["name"].as_str()?, selector, label))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn variables(dashboard: &Value) -> &[Value] {
    list(&dashboard["templating"]["list"])
}

fn queried(dashboard: &Value) -> impl Iterator<Item = &Value> {
    variables(dashboard).iter().filter(|variable| variable["type"] == "query")
}

fn unless(holds: bool, complaint: impl Into<String>) -> Option<String> {
    (!holds).then(|| complaint.into())
}

fn each_panel(dashboard: &Value, check: impl Fn(&Value) -> Vec<String>) -> Vec<String> {
    let named = |(panel, name): (&Value, String)| {
        check(panel).into_iter().map(move |complaint| format!("{name}: {complaint}"))
    };
    panels(dashboard).into_iter().flat_map(named).collect()
}

fn template_datasource(dashboard: &Value) -> Vec<String> {
    let is_source = |variable: &&Value| variable["type"] == "datasource";
    let sources: Vec<_> = variables(dashboard).iter().filter(is_source).collect();
    let [source] = sources.as_slice() else {
        return vec![format!("{} data source variables instead of one", sources.len())];
    };
    let wants = [("name", "datasource"), ("label", "Data source"), ("query", "prometheus")];
    let check = |(key, want)| unless(source[key] == want, format!("its {key} is no {want}"));
    wants.into_iter().filter_map(check).collect()
}

fn templated(dashboard: &Value, name: &str, label: &str) -> Vec<String> {
    let Some(variable) = queried(dashboard).find(|variable| variable["name"] == name) else {
        return vec![format!("no variable {name}")];
    };
    [
        unless(variable["datasource"]["uid"] == DATASOURCE, "another data source"),
        unless(variable["label"] == label, format!("its label is not {label}")),
        unless(variable["multi"] == true, "only one can be chosen"),
        unless(variable["includeAll"] == true, "not all can be chosen"),
        unless(variable["allValue"] == ".+", "all is not .+"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn template_label_promql(dashboard: &Value) -> Vec<String> {
    let understood = label_queries(dashboard);
    let is_known = |variable: &Value| understood.iter().any(|(name, ..)| variable["name"] == *name);
    queried(dashboard)
        .filter_map(|variable| {
            unless(is_known(variable), format!("{}: no label_values", variable["name"]))
        })
        .collect()
}

fn template_on_time_change_reload(dashboard: &Value) -> Vec<String> {
    // 2: when the time range changes.
    queried(dashboard)
        .filter_map(|variable| {
            unless(variable["refresh"] == 2, format!("{}: refresh", variable["name"]))
        })
        .collect()
}

fn panel_datasource(dashboard: &Value) -> Vec<String> {
    each_panel(dashboard, |panel| {
        let all = std::iter::once(panel).chain(list(&panel["targets"]));
        all.filter_map(|part| unless(part["datasource"]["uid"] == DATASOURCE, "data source"))
            .collect()
    })
}

fn panel_title_description(dashboard: &Value) -> Vec<String> {
    each_panel(dashboard, |panel| {
        let is_there = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
        let check = |key| unless(is_there(key), format!("no {key}"));
        ["title", "description"].into_iter().filter_map(check).collect()
    })
}

fn panel_units(dashboard: &Value) -> Vec<String> {
    each_panel(dashboard, |panel| {
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        let is_known = unit.as_str().is_some_and(|unit| UNITS.contains(&unit));
        unless(is_known, format!("unit {unit}")).into_iter().collect()
    })
}

fn panel_no_targets(dashboard: &Value) -> Vec<String> {
    each_panel(dashboard, |panel| {
        unless(!expressions(panel).is_empty(), "no query").into_iter().collect()
    })
}

fn each_expression(dashboard: &Value, check: impl Fn(&str) -> bool) -> Vec<String> {
    each_panel(dashboard, |panel| {
        let good = |expression: &&str| !check(expression);
        expressions(panel).into_iter().filter(good).map(str::to_owned).collect()
    })
}

/// What stands between `open` and `close`, each time.
fn between(text: &str, open: char, close: char) -> impl Iterator<Item = &str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

fn target_rate_interval(dashboard: &Value) -> Vec<String> {
    each_expression(dashboard, |expression| {
        between(expression, '[', ']').all(|range| range == "$__rate_interval")
    })
}

fn target_matcher(dashboard: &Value, matcher: &str) -> Vec<String> {
    each_expression(dashboard, |expression| {
        let mut selectors = between(expression, '{', '}').peekable();
        selectors.peek().is_some() && selectors.all(|selector| selector.contains(matcher))
    })
}

/// Counters, and the counters that a histogram is made of, only within `rate`.
fn target_counter_agg(dashboard: &Value) -> Vec<String> {
    let counters = ["_total{", "_bucket{", "_sum{", "_count{"];
    each_expression(dashboard, |expression| {
        let places = counters.iter().flat_map(|end| expression.match_indices(end));
        places.into_iter().all(|(at, _)| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            expression[..at].trim_end_matches(is_name).ends_with("rate(")
        })
    })
}

fn uneditable(dashboard: &Value) -> Vec<String> {
    unless(dashboard["editable"] == false, "it can be edited").into_iter().collect()
}
