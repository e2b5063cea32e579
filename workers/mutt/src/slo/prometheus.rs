//! One question to Prometheus' HTTP API.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::judge::Recorded;
use crate::connect;
use crate::worker::Fatal;

/// A page or a person waits for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// Nine series for each of four objectives are some 10 KiB; those of a hundred pipelines still fit.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The recorded names (see `manifests/prometheus/mutt.rules.yaml`).
const ERRORS: &str = "mutt:slo_errors:ratio_rate";
const ALERTS: &str = "ALERTS";
const BUDGET: &str = "mutt:slo_budget:ratio";

/// Why Prometheus does not say.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrometheusError {
    #[error("Prometheus at {url} does not answer ({reason}): is PROMETHEUS_URL right?")]
    Away { url: String, reason: String },
    #[error("Prometheus at {url} answered {status}: {text}")]
    Refused { url: String, status: u16, text: String },
}

/// The client.
pub(super) struct Prometheus {
    client: reqwest::Client,
    /// As in the settings, for messages; without user and password.
    shown: String,
    query: Url,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: Labels,
    /// Unix time and the value as text.
    value: (f64, String),
}

#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "__name__")]
    name: String,
    #[serde(default)]
    slo: String,
    /// Of an alert.
    #[serde(default)]
    long: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pipeline: String,
}

impl Prometheus {
    /// `selector` are further label matchers, or nothing.
    pub(super) fn new(base: Url, selector: &str) -> Result<Self, Fatal> {
        let mut builder = reqwest::Client::builder()
            .timeout(ANSWER_TIME_MAX)
            .redirect(reqwest::redirect::Policy::limited(3))
            .user_agent(concat!("mutt/", env!("CARGO_PKG_VERSION")));
        builder = if base.scheme() == "https" {
            builder.tls_backend_preconfigured(connect::tls_client(None)?)
        } else {
            builder.tls_certs_only([])
        };
        let client = builder.build().map_err(|error| Fatal::failed("HTTP client", error))?;
        let mut shown = base.clone();
        // Both fail on a URL without a host only, which the settings refuse.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        let separator = if selector.is_empty() { "" } else { "," };
        let promql = format!(
            "{{__name__=~\"{ERRORS}.+|{BUDGET}\"{separator}{selector}}} or \
             {ALERTS}{{alertname=\"MuttErrorBudgetBurn\",alertstate=\"firing\"{separator}{selector}}}"
        );
        let mut query = base;
        // Prometheus may be served below a path.
        query.set_path(&format!("{}/api/v1/query", query.path().trim_end_matches('/')));
        query.query_pairs_mut().append_pair("query", &promql);
        Ok(Self { client, shown: shown.as_str().trim_end_matches('/').to_owned(), query })
    }

    /// What it has recorded.
    pub(super) async fn recorded(&self) -> Result<Recorded, PrometheusError> {
        let away = |reason: String| PrometheusError::Away { url: self.shown.clone(), reason };
        let mut response =
            self.client.get(self.query.clone()).send().await.map_err(|error| away(cause(&error.without_url())))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| away(cause(&error.without_url())))? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.refused(status, "an answer too long to be that of one pipeline; set SLO_SELECTOR"));
            }
        }
        match serde_json::from_slice(&body) {
            Ok(Answer { data: Some(data), .. }) => Ok(recorded(data)),
            Ok(Answer { error, .. }) if !error.is_empty() => Err(self.refused(status, &error)),
            _ => Err(self.refused(status, "nothing that Prometheus would; is PROMETHEUS_URL right?")),
        }
    }

    fn refused(&self, status: u16, text: &str) -> PrometheusError {
        PrometheusError::Refused { url: self.shown.clone(), status, text: text.chars().take(200).collect() }
    }
}

fn recorded(data: Data) -> Recorded {
    let mut recorded = Recorded::default();
    for Sample { metric, value: (_, value) } in data.result {
        let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
        recorded.pipelines.insert(format!("{}/{}", metric.namespace, metric.pipeline));
        match metric.name.strip_prefix(ERRORS) {
            Some(window) => drop(recorded.errors.insert((metric.slo, window.to_owned()), value)),
            None if metric.name == ALERTS => drop(recorded.burning.insert(metric.slo, metric.long)),
            None => drop(recorded.budgets.insert(metric.slo, value)),
        }
    }
    recorded
}

/// The innermost cause: reqwest's own text says only where it happened.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("nothing within {} s", ANSWER_TIME_MAX.as_secs());
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_question_is_below_the_path_and_names_the_pipeline() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asks = Prometheus::new(url("http://u:secret@prom:9090/prometheus/"), "pipeline=\"core\"").unwrap();
        assert_eq!(
            (asks.shown.as_str(), asks.query.path()),
            ("http://prom:9090/prometheus", "/prometheus/api/v1/query")
        );
        let (_, promql) = asks.query.query_pairs().next().unwrap();
        let series = r#"{__name__=~"mutt:slo_errors:ratio_rate.+|mutt:slo_budget:ratio",pipeline="core"}"#;
        let alerts = r#"ALERTS{alertname="MuttErrorBudgetBurn",alertstate="firing",pipeline="core"}"#;
        assert_eq!(promql, format!("{series} or {alerts}"));
    }

    #[test]
    fn samples_are_sorted_by_objective_and_window() {
        let answer = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"mutt:slo_errors:ratio_rate1h","slo":"a","namespace":"n","pipeline":"p"},"value":[1.5,"0.25"]},
            {"metric":{"__name__":"mutt:slo_errors:ratio_rate5m","slo":"a","namespace":"n","pipeline":"p"},"value":[1.5,"NaN"]},
            {"metric":{"__name__":"ALERTS","slo":"a","long":"1h","namespace":"n","pipeline":"p"},"value":[1.5,"1"]},
            {"metric":{"__name__":"mutt:slo_budget:ratio","slo":"a","namespace":"n","pipeline":"p"},"value":[1.5,"0.01"]}]}}"#;
        let answer: Answer = serde_json::from_str(answer).unwrap();
        let recorded = recorded(answer.data.unwrap());
        assert_eq!(recorded.errors.into_iter().collect::<Vec<_>>(), [(("a".to_owned(), "1h".to_owned()), 0.25)]);
        assert_eq!((recorded.budgets["a"], recorded.burning["a"].as_str()), (0.01, "1h"));
        assert_eq!(recorded.pipelines.into_iter().collect::<Vec<_>>(), ["n/p"]);
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let port = mutt_servers::free_port().unwrap();
        let asks = Prometheus::new(url(&format!("http://127.0.0.1:{port}")), "").unwrap();
        let error = asks.recorded().await.unwrap_err().to_string();
        assert!(error.contains(&format!("http://127.0.0.1:{port} does not answer")), "{error}");
    }
}
