//! How a dashboard is written down here (`dashboards/*.yaml`), and what Grafana gets of it: one look, one set of links and variables,
//! places that follow from widths.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;
/// Rows that a panel is high where it does not say.
const HEIGHT: u64 = 8;
/// Version of the JSON that Grafana 10.3 and later write.
const SCHEMA_VERSION: u64 = 39;
/// The page with a section for each alert. Where it can be read is known to the installation alone: the chart puts that before it,
/// and Grafana makes a link of it, as descriptions are Markdown.
pub(crate) const RUNBOOKS: &str = "manifests/prometheus/runbooks.md";

/// A member that must be there.
fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no text `{member}` in {value}"))
}

fn number(value: &Value, member: &str, default: u64) -> u64 {
    value[member].as_u64().unwrap_or(default)
}

/// The dashboard for Grafana out of ours.
pub(crate) fn for_grafana(name: &str, written: &Value) -> Value {
    let scope = Scope::of(text(written, "scope"));
    let mut panels = Vec::new();
    let mut y = 0;
    for row in written["rows"].as_array().expect("rows") {
        panels.push(json!({
            "type": "row", "title": text(row, "title"), "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }));
        y += 1;
        y = place(&scope, row, y, &mut panels);
    }
    for (index, panel) in panels.iter_mut().enumerate() {
        panel["id"] = json!(index + 1);
    }
    json!({
        "uid": format!("mutt-{name}"),
        "title": text(written, "title"),
        "description": format!("{}\n\nWhat each alert means: {RUNBOOKS}", text(written, "description")),
        "tags": ["mutt"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": written["from"].as_str().unwrap_or("now-3h"), "to": "now"},
        "templating": {"list": scope.variables()},
        "annotations": {"list": [{
            "name": "Critical alerts", "enable": true, "iconColor": "red", "datasource": datasource(),
            "expr": scope.fill("max by (alertname) (ALERTS{alertstate=\"firing\",severity=\"critical\",ALERTS_OF})"),
            "titleFormat": "{{alertname}}", "step": "60s",
        }]},
        "links": [dashboards_link()],
        "panels": panels,
    })
}

/// To all dashboards of MUTT, with the same pipeline and time.
fn dashboards_link() -> Value {
    json!({
        "type": "dashboards", "title": "MUTT", "url": "", "icon": "external link", "tooltip": "", "targetBlank": false,
        "asDropdown": false, "includeVars": true, "keepTime": true, "tags": ["mutt"],
    })
}

/// Puts a row's panels side by side, in lines where they do not fit; returns where the next row begins.
fn place(scope: &Scope, row: &Value, mut y: u64, panels: &mut Vec<Value>) -> u64 {
    let (mut x, mut line) = (0, 0);
    for panel in row["panels"].as_array().expect("panels") {
        let (width, height) = (number(panel, "width", 12), number(panel, "height", HEIGHT));
        if x + width > COLUMNS {
            (x, y, line) = (0, y + line, 0);
        }
        let mut made = panel_for_grafana(scope, panel);
        made["gridPos"] = json!({"x": x, "y": y, "w": width, "h": height});
        panels.push(made);
        (x, line) = (x + width, line.max(height));
    }
    y + line
}

fn panel_for_grafana(scope: &Scope, panel: &Value) -> Value {
    let kind = text(panel, "kind");
    let queries = panel["queries"].as_array().expect("queries");
    let targets = queries.iter().zip('A'..='Z').map(|(query, letter)| target(scope, kind, query, letter));
    let mut made = json!({
        "type": kind,
        "title": text(panel, "title"),
        "description": text(panel, "text"),
        "datasource": datasource(),
        "targets": targets.collect::<Vec<_>>(),
        "fieldConfig": {"defaults": defaults(kind, panel), "overrides": list(&panel["overrides"])},
        "options": options(kind, panel),
        "links": [],
    });
    if let Some(alert) = panel["runbook"].as_str() {
        let runbook = format!("{}\n\n{alert}: {RUNBOOKS}#{}", text(panel, "text"), alert.to_lowercase());
        made["description"] = json!(runbook);
    }
    if panel["transformations"].is_array() {
        made["transformations"] = panel["transformations"].clone();
    }
    made
}

fn target(scope: &Scope, kind: &str, query: &Value, letter: char) -> Value {
    let instant = kind == "table";
    json!({
        "refId": letter.to_string(),
        "datasource": datasource(),
        "expr": scope.fill(text(query, "expr").trim()),
        "legendFormat": query["legend"].as_str().unwrap_or("__auto"),
        "instant": instant,
        "range": !instant,
        "format": if instant { "table" } else { "time_series" },
    })
}

fn defaults(kind: &str, panel: &Value) -> Value {
    let steps = panel["thresholds"].as_array().map_or_else(
        || json!([{"color": "green", "value": null}]),
        |steps| {
            let step = |step: &Value| json!({"color": text(step, "color"), "value": step["from"]});
            steps.iter().map(step).collect()
        },
    );
    let mut defaults = json!({
        "unit": text(panel, "unit"),
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": mappings(&panel["values"]),
        "color": {"mode": if kind == "timeseries" { "palette-classic" } else { "thresholds" }},
    });
    for member in ["min", "max", "decimals", "noValue"] {
        if !panel[member].is_null() {
            defaults[member] = panel[member].clone();
        }
    }
    if kind == "timeseries" {
        let stacked = panel["stacked"].as_bool().unwrap_or(false);
        defaults["custom"] = json!({
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": if stacked { 40 } else { 10 }, "showPoints": "never",
            "stacking": {"mode": if stacked { "normal" } else { "none" }, "group": "A"},
            "thresholdsStyle": {"mode": if panel["thresholds"].is_array() { "dashed" } else { "off" }},
        });
        if panel["min"].is_null() {
            defaults["min"] = json!(0);
        }
    }
    defaults
}

/// What a number means: `values: {"2": {text: open, color: red}}`.
fn mappings(values: &Value) -> Value {
    let Some(values) = values.as_object() else { return json!([]) };
    let options: BTreeMap<_, _> = values
        .iter()
        .zip(0..)
        .map(|((value, means), index)| {
            (value, json!({"text": text(means, "text"), "color": text(means, "color"), "index": index}))
        })
        .collect();
    json!([{"type": "value", "options": options}])
}

fn options(kind: &str, panel: &Value) -> Value {
    match kind {
        "stat" => json!({
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
            "textMode": panel["shows"].as_str().unwrap_or("auto"), "wideLayout": true,
            "showPercentChange": false, "percentChangeColorMode": "standard",
        }),
        "timeseries" => json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        "table" => json!({"showHeader": true, "cellHeight": "sm", "frameIndex": 0}),
        other => panic!("no such kind of panel here: {other}"),
    }
}

fn list(value: &Value) -> Value {
    if value.is_array() { value.clone() } else { json!([]) }
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// What a dashboard is about, and thereby its variables.
enum Scope {
    Pipeline,
    Operator,
}

impl Scope {
    fn of(word: &str) -> Self {
        match word {
            "pipeline" => Self::Pipeline,
            "operator" => Self::Operator,
            other => panic!("no such scope: {other}"),
        }
    }

    /// Puts the selector of what is looked at in place of the words that stand for it.
    fn fill(&self, expression: &str) -> String {
        let pipeline = r#"namespace="$namespace",pipeline="$pipeline""#;
        let (alerts, operator, service) = match self {
            Self::Pipeline => (pipeline, "", ""),
            Self::Operator => (
                r#"alertname=~"MuttOperator.*""#,
                r#"namespace="$namespace",service="$service""#,
                r#"service="$service""#,
            ),
        };
        expression
            .replace("ALERTS_OF", alerts)
            .replace("PIPELINE", pipeline)
            .replace("OPERATOR", operator)
            .replace("SERVICE", service)
    }

    fn variables(&self) -> Value {
        let source = json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
            "current": {"text": "", "value": ""}, "options": [], "refresh": 1, "regex": "", "multi": false, "includeAll": false,
        });
        let labels = |name: &str, label: &str, query: &str| {
            json!({
                "name": name, "label": label, "type": "query", "datasource": datasource(), "hide": 0,
                "query": {"query": query, "refId": name}, "definition": query,
                "refresh": 2, "sort": 1, "current": {"text": "", "value": ""}, "options": [], "regex": "", "multi": false, "includeAll": false,
            })
        };
        match self {
            Self::Pipeline => json!([
                source,
                labels("namespace", "Namespace", "label_values(mutt_build_info, namespace)"),
                labels("pipeline", "Pipeline", "label_values(mutt_build_info{namespace=\"$namespace\"}, pipeline)"),
            ]),
            Self::Operator => json!([
                source,
                labels("namespace", "Namespace", "label_values(mutt_operator_build_info, namespace)"),
                labels(
                    "service",
                    "Service",
                    "label_values(mutt_operator_build_info{namespace=\"$namespace\"}, service)"
                ),
            ]),
        }
    }
}
