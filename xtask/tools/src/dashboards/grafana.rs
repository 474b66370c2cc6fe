//! The little of Grafana's dashboard model that the dashboards use.

use hopsight_export::metrics::catalogue::MetricInfo;
use serde_json::{Value, json};

/// Matchers of every query: which agents.
const AGENTS: &str =
    r#"cluster=~"$cluster", namespace=~"$namespace", job=~"$job", instance=~"$instance""#;

/// Fixed colours of the security words, the same as on the agent's page.
const COLORS: [(&str, &str); 4] =
    [("plaintext", "red"), ("unknown", "purple"), ("tls", "orange"), ("mtls", "green")];

/// The series of a metric that the variables select, with further `matchers`.
pub fn select(metric: MetricInfo, matchers: &str) -> String {
    let of_hops = ["proxy", "upstream"].into_iter().filter(|label| metric.labels.contains(label));
    let of_hops = of_hops.map(|label| format!(r#"{label}=~"${label}""#));
    let further = (!matchers.is_empty()).then(|| matchers.to_owned());
    let all: Vec<_> = std::iter::once(AGENTS.to_owned()).chain(of_hops).chain(further).collect();
    format!("{}{{{}}}", metric.name, all.join(", "))
}

/// Rate of a counter per second.
pub fn rate(metric: MetricInfo, matchers: &str) -> String {
    format!("rate({}[$__rate_interval])", select(metric, matchers))
}

/// A quantile, such as `0.99`, of a histogram.
pub fn quantile(metric: MetricInfo, quantile: &str) -> String {
    let series = select(metric, "").replacen('{', "_bucket{", 1);
    format!("histogram_quantile({quantile}, sum by (le) (rate({series}[$__rate_interval])))")
}

/// One query of a panel.
pub struct Query {
    expr: String,
    legend: &'static str,
    is_table: bool,
}

impl Query {
    /// Over time, with a legend such as `{{reason}}`.
    pub fn series(expr: impl Into<String>, legend: &'static str) -> Self {
        Self { expr: expr.into(), legend, is_table: false }
    }

    /// Now, as rows of a table.
    pub fn table(expr: impl Into<String>) -> Self {
        Self { expr: expr.into(), legend: "", is_table: true }
    }

    fn json(&self, index: usize) -> Value {
        let reference = char::from(b'A' + u8::try_from(index).expect("few queries"));
        json!({
            "datasource": datasource(),
            "editorMode": "code",
            "expr": self.expr,
            "legendFormat": self.legend,
            "refId": reference.to_string(),
            "format": if self.is_table { "table" } else { "time_series" },
            "instant": self.is_table,
            "range": !self.is_table,
        })
    }
}

/// One panel. `kind`, `unit` and the keys of `options` and `defaults` are Grafana's.
pub struct Panel {
    /// Panel type.
    pub kind: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What it says and when to worry.
    pub description: &'static str,
    /// Unit of its values.
    pub unit: &'static str,
    /// Columns of 24, and rows.
    pub size: (u32, u32),
    /// Its queries.
    pub queries: Vec<Query>,
    /// `fieldConfig.defaults` beyond the unit.
    pub defaults: Value,
    /// `options`.
    pub options: Value,
    /// `transformations`.
    pub transformations: Value,
    /// `fieldConfig.overrides` beyond the colours of the security words.
    pub overrides: Vec<Value>,
}

impl Panel {
    /// A panel that draws lines over time.
    pub fn lines(
        title: &'static str,
        description: &'static str,
        unit: &'static str,
        queries: Vec<Query>,
    ) -> Self {
        let custom = json!({ "fillOpacity": 10, "lineWidth": 2, "showPoints": "never" });
        Self {
            kind: "timeseries",
            title,
            description,
            unit,
            size: (12, 8),
            queries,
            defaults: json!({ "custom": custom, "min": 0 }),
            options: json!({
                "legend": { "displayMode": "table", "placement": "right", "calcs": ["lastNotNull"] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            transformations: json!([]),
            overrides: vec![],
        }
    }

    /// The same, stacked, as shares of the whole.
    pub fn shares(
        title: &'static str,
        description: &'static str,
        unit: &'static str,
        queries: Vec<Query>,
    ) -> Self {
        let stacking = json!({ "mode": "percent", "group": "A" });
        let custom = json!({ "fillOpacity": 70, "lineWidth": 0, "stacking": stacking });
        Self {
            defaults: json!({ "custom": custom, "min": 0 }),
            ..Self::lines(title, description, unit, queries)
        }
    }

    /// A panel that shows one number, coloured from `steps` on: (colour, from), the first from
    /// minus infinity.
    pub fn number(
        title: &'static str,
        description: &'static str,
        unit: &'static str,
        query: Query,
        steps: &[(&str, f64)],
    ) -> Self {
        let steps: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, (color, from))| {
                json!({ "color": color, "value": if index == 0 { Value::Null } else { json!(from) } })
            })
            .collect();
        Self {
            kind: "stat",
            size: (4, 4),
            defaults: json!({
                "thresholds": { "mode": "absolute", "steps": steps },
                "color": { "mode": "thresholds" },
                "noValue": "–",
            }),
            options: json!({
                "colorMode": "value",
                "graphMode": "area",
                "reduceOptions": { "calcs": ["lastNotNull"] },
            }),
            ..Self::lines(title, description, unit, vec![query])
        }
    }

    /// Rows of labels with a value.
    pub fn table(
        title: &'static str,
        description: &'static str,
        unit: &'static str,
        query: Query,
        columns: &[(&str, &str)],
    ) -> Self {
        let names: serde_json::Map<_, _> =
            columns.iter().map(|(label, name)| ((*label).into(), json!(name))).collect();
        let order: serde_json::Map<_, _> = columns
            .iter()
            .enumerate()
            .map(|(at, (label, _))| ((*label).into(), json!(at)))
            .collect();
        Self {
            kind: "table",
            size: (24, 10),
            defaults: json!({ "custom": { "filterable": true } }),
            options: json!({ "showHeader": true, "cellHeight": "sm" }),
            transformations: json!([{ "id": "organize", "options": {
                "excludeByName": { "Time": true },
                "renameByName": names,
                "indexByName": order,
            }}]),
            ..Self::lines(title, description, unit, vec![query])
        }
    }

    /// The same panel, this large.
    pub fn sized(mut self, columns: u32, rows: u32) -> Self {
        self.size = (columns, rows);
        self
    }

    fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let mut defaults = self.defaults.clone();
        defaults["unit"] = json!(self.unit);
        let colored = COLORS.iter().map(|(word, color)| {
            json!({
                "matcher": { "id": "byName", "options": word },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": color } }],
            })
        });
        let overrides: Vec<_> = colored.chain(self.overrides.iter().cloned()).collect();
        let targets: Vec<_> = self.queries.iter().enumerate().map(|(i, q)| q.json(i)).collect();
        json!({
            "id": id,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": { "h": self.size.1, "w": self.size.0, "x": x, "y": y },
            "fieldConfig": { "defaults": defaults, "overrides": overrides },
            "options": self.options,
            "transformations": self.transformations,
            "targets": targets,
        })
    }
}

/// What the numbers that stand for a security word say: 4 is the worst.
pub fn security_mappings() -> Value {
    let mut options = serde_json::Map::new();
    for ((word, color), number) in COLORS.iter().zip(["4", "3", "2", "1"]) {
        options.insert(number.into(), json!({ "text": word, "color": color }));
    }
    json!([{ "type": "value", "options": options }])
}

/// The current security of hops as a number; see [`security_mappings`].
pub fn security_rank(metric: MetricInfo) -> String {
    let words = COLORS.iter().zip(["4", "3", "2", "1"]).map(|((word, _), number)| {
        let series = select(metric, &format!(r#"security="{word}""#));
        format!("{number} * ({series} == 1)")
    });
    let all: Vec<_> = words.collect();
    format!("max by (cluster, namespace, instance, proxy, upstream) ({})", all.join(" or "))
}

fn title_case(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// A dashboard. `variables` are its further ones: (label, metric that has it).
pub struct Dashboard {
    /// Its stable identity, and the name of its file.
    pub uid: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Labels that can be chosen beside those of the agents.
    pub variables: Vec<(&'static str, MetricInfo)>,
    /// Rows of panels with their headings.
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Dashboard {
    /// The file's content.
    pub fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["hopsight", "tls"],
            "editable": false,
            "graphTooltip": 1,
            "schemaVersion": 39,
            "version": 1,
            "refresh": "1m",
            "time": { "from": "now-6h", "to": "now" },
            "timezone": "browser",
            "links": [{
                "type": "dashboards", "title": "hopsight", "tags": ["hopsight"],
                "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
                "icon": "external link", "tooltip": "", "url": "",
            }],
            "templating": { "list": self.variables_json() },
            "annotations": { "list": [] },
            "panels": self.panels(),
        })
    }

    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        for (heading, row) in &self.rows {
            panels.push(json!({
                "id": panels.len() + 1, "type": "row", "title": heading, "collapsed": false,
                "gridPos": { "h": 1, "w": 24, "x": 0, "y": y }, "panels": [],
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in row {
                if x + panel.size.0 > 24 {
                    (x, y, height) = (0, y + height, 0);
                }
                panels.push(panel.json(panels.len() + 1, x, y));
                x += panel.size.0;
                height = height.max(panel.size.1);
            }
            y += height;
        }
        panels
    }

    fn variables_json(&self) -> Vec<Value> {
        use hopsight_export::metrics::catalogue::BUILD_INFO;

        let mut list = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource",
            "query": "prometheus", "hide": 0, "refresh": 1, "includeAll": false, "multi": false,
        })];
        let mut matchers: Vec<String> = vec![];
        let agents =
            ["cluster", "namespace", "job", "instance"].map(|label| (label, BUILD_INFO.info));
        for (label, metric) in agents.into_iter().chain(self.variables.iter().copied()) {
            let chosen = matchers.join(", ");
            let query = format!("label_values({}{{{chosen}}}, {label})", metric.name);
            // Machines outside Kubernetes have no cluster and no namespace.
            let all = if matches!(label, "cluster" | "namespace") { ".*" } else { ".+" };
            list.push(json!({
                "name": label, "label": title_case(label), "type": "query", "datasource": datasource(),
                "query": { "query": query, "refId": "labels" }, "definition": query,
                "refresh": 2, "sort": 1, "hide": 0, "multi": true, "includeAll": true,
                "allValue": all, "current": { "text": ["All"], "value": ["$__all"] },
            }));
            matchers.push(format!(r#"{label}=~"${label}""#));
        }
        list
    }
}
