//! Waiting until every role can do its work.

use std::time::Duration;

use reqwest::Client;

use super::{args::DevArgs, plan::Plan, report};
use crate::worker::Fatal;

/// How long a role may be unready before its reason is shown.
const PATIENCE: u32 = 50;
const POLL: Duration = Duration::from_millis(100);

/// A client for the roles' own ports. Their certificate, where they have one, may be anybody's: it is this machine.
pub(super) fn client() -> Result<Client, Fatal> {
    Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| Fatal::failed("make an HTTP client", error))
}

/// Returns when `/ready` of every role answers 200; says from time to time what is missing.
pub(super) async fn wait(client: &Client, args: &DevArgs, plan: &Plan) {
    for role in &args.roles {
        let url = format!("{}/ready", plan.urls(*role).0);
        let mut tries = 0_u32;
        loop {
            let answer = client.get(&url).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            tries += 1;
            if tries.is_multiple_of(PATIENCE) {
                let reason = match answer {
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                report::say(format_args!("waiting for the {}: {}", role.command(), reason.trim()));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
