//! What `mutt dev` says to the person in front of it.

use std::{
    fmt::Display,
    io::{self, Write},
};

use mutt_servers::{Received, Webhook};

use super::{args::DevArgs, args::DevRole, plan::Plan, services::Services};

/// The first alerts are shown one by one.
const ALERTS_SHOWN: usize = 10;
/// Body of the first event to try.
const EXAMPLE: &str = r#"    -d '{"timestamp":"'$(date +%s)'","hostname":"core-1","severity":"notice","message":"%BGP-5-ADJCHANGE: neighbor 10.0.0.9 Down"}'"#;

/// Says a line. That nobody listens any more (`mutt dev | head`) is no reason to end.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints where everything is and how to send a first event.
pub(super) fn ready(args: &DevArgs, plan: &Plan, services: &Services) {
    let key = |name: &str| plan.vars.get(name).unwrap_or("(from file)").to_owned();
    let line = |what: &str, text: String| say(format_args!("  {what:<10}{text}"));
    say("\nmutt dev is ready. Ctrl-C stops everything it started.\n");
    for role in &args.roles {
        let (health, metrics) = plan.urls(*role);
        match role {
            DevRole::Ingestor => {
                line("ingest", format!("{health}/ingest   X-API-KEY: {}", key("INGEST_API_KEY")));
            }
            DevRole::Webui => line("web ui", format!("{health}/   X-API-KEY: {}", key("WEBUI_API_KEY"))),
            DevRole::Alerter | DevRole::Forwarder => {
                line(role.command(), format!("{health}/health   {metrics}/metrics"));
            }
        }
    }
    line("redis", services.redis_url.clone());
    if !services.database_url.is_empty() {
        line("database", services.database_url.clone());
    }
    if !services.moog_url.is_empty() {
        let which = if services.webhook.is_some() { "(a stand-in for Moogsoft)" } else { "" };
        line("webhook", format!("{} {which}", services.moog_url));
    }
    if args.roles.contains(&DevRole::Ingestor) {
        let (ingest, _) = plan.urls(DevRole::Ingestor);
        let key = key("INGEST_API_KEY");
        say(format_args!(
            "\nSend an event:\n  curl -H 'X-API-KEY: {key}' -H 'Content-Type: application/json' {ingest}/ingest \\"
        ));
        say(EXAMPLE);
    }
    say(format_args!("\nSee how it goes:\n  REDIS_URL='{}' mutt status --watch\n", services.redis_url));
}

/// Shows the first alerts that reach the stand-in webhook.
#[derive(Debug, Default)]
pub(super) struct AlertPrinter {
    shown: usize,
}

impl AlertPrinter {
    /// Shows what came since the last call, until enough were shown.
    pub(super) fn show(&mut self, webhook: &Webhook) {
        for received in webhook.take() {
            if self.shown == 0 {
                say("First alerts at the webhook:");
            }
            if self.shown < ALERTS_SHOWN {
                say(format_args!("  {}", alert_line(&received)));
                self.shown += 1;
            }
            if self.shown == ALERTS_SHOWN {
                say("  … further alerts are only counted.\n");
                webhook.record(false);
                self.shown += 1;
            }
        }
    }
}

fn alert_line(received: &Received) -> String {
    let severity = match received.json["severity"].as_u64() {
        Some(5) => "Critical",
        Some(4) => "Major",
        Some(2) => "Minor",
        Some(1) => "Info",
        Some(0) => "Clear",
        _ => "Warning",
    };
    let text = received.text("description");
    let cut: String = text.chars().take(100).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{severity:<9}{:<10}{:<12}{cut}{dots}", received.text("source_id"), received.text("class"))
}
