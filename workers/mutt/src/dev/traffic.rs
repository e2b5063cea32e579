//! Sample events, so that something is to be seen.

use std::time::Duration;

use reqwest::Client;

/// The events of `manifests/samples/traffic.ndjson`, one JSON object a line, without time.
const SAMPLES: &str = include_str!("../../../../manifests/samples/traffic.ndjson");
/// After one of each at once, a steady trickle.
const PAUSE: Duration = Duration::from_millis(500);

/// Sends one of each kind, then one after the other, without end. Refusals are tried again.
pub(super) async fn send(client: &Client, url: &str, key: &str) {
    let samples: Vec<&str> = SAMPLES.lines().filter(|line| !line.trim().is_empty()).collect();
    let all = samples.iter().map(|sample| stamped(sample)).collect::<Vec<_>>().join("\n");
    post(client, url, key, all, "application/x-ndjson").await;
    for sample in samples.iter().cycle() {
        tokio::time::sleep(PAUSE).await;
        post(client, url, key, stamped(sample), "application/json").await;
    }
}

/// The event with the time of now in front.
fn stamped(sample: &str) -> String {
    format!("{{\"timestamp\":\"{}\",{}", jiff::Timestamp::now(), sample.trim_start().trim_start_matches('{'))
}

async fn post(client: &Client, url: &str, key: &str, body: String, media_type: &str) {
    loop {
        let request = client.post(url).header("X-API-KEY", key).header("Content-Type", media_type).body(body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => tracing::warn!(status = answer.status().as_u16(), "sample event refused"),
            Err(error) => tracing::warn!(%error, "sample event not sent"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_a_complete_event() {
        for sample in SAMPLES.lines() {
            let event: serde_json::Value = serde_json::from_str(&stamped(sample)).unwrap();
            for field in ["timestamp", "hostname", "message", "source"] {
                assert!(event[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {event}");
            }
        }
    }
}
