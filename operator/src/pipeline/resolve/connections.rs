//! Redis, PostgreSQL and the webhook can be addressed as they are given. The schema has looked at them already; here is what it
//! cannot see, and what a definition older than this operator may have let through.

use mutt_crds::MuttPipelineSpec;
use url::Url;

use super::{Reason, problem::Problems};

/// Says what cannot be connected to.
pub(super) fn check(spec: &MuttPipelineSpec, problems: &mut Problems) {
    check_redis(spec, problems);
    for (field, host) in [("host", Some(&spec.postgres.host)), ("readHost", spec.postgres.read_host.as_ref())] {
        if host.is_some_and(|host| host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c))) {
            problems.add(
                Reason::InvalidUrl,
                format!("spec.postgres.{field} is a host name or an address, without scheme, user or path"),
            );
        }
    }
    check_http("spec.moogsoft.url", &spec.moogsoft.url, problems);
    if let Some(url) = spec.web_ui.as_ref().and_then(|web_ui| web_ui.prometheus_url.as_ref()) {
        check_http("spec.webUi.prometheusUrl", url, problems);
    }
    let retry = &spec.moogsoft.retry;
    if retry.base_delay_seconds > retry.max_delay_seconds {
        problems.add(
            Reason::InvalidSettings,
            format!(
                "spec.moogsoft.retry: baseDelaySeconds ({}) is greater than maxDelaySeconds ({})",
                retry.base_delay_seconds, retry.max_delay_seconds
            ),
        );
    }
}

fn check_redis(spec: &MuttPipelineSpec, problems: &mut Problems) {
    let mut add = |words: String| problems.add(Reason::InvalidUrl, format!("spec.redis.url: {words}"));
    let url = match Url::parse(&spec.redis.url) {
        Ok(url) if ["redis", "rediss"].contains(&url.scheme()) && url.has_host() => url,
        Ok(_) => return add("expected redis://host:port/database, or rediss:// for TLS".to_owned()),
        Err(error) => return add(format!("{error}; expected redis://host:port/database, or rediss:// for TLS")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        add("holds a login; put the password into the Secret of credentialsSecret and the user into username"
            .to_owned());
    }
    let database = url.path().trim_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        add(format!("the path `{database}` is not the number of a database"));
    }
    if spec.redis.tls.is_some() && url.scheme() == "redis" {
        add("has to begin with rediss:// since spec.redis.tls is set".to_owned());
    }
}

fn check_http(field: &str, text: &str, problems: &mut Problems) {
    let words = match Url::parse(text) {
        Err(error) => format!("{error}; expected https://host/path"),
        Ok(url) if !["http", "https"].contains(&url.scheme()) || !url.has_host() => {
            "expected https://host/path".to_owned()
        }
        Ok(url) if url.password().is_some() || !url.username().is_empty() => {
            "holds a login, which would stand in the Deployment for all to read; a key belongs into a Secret".to_owned()
        }
        Ok(_) => return,
    };
    problems.add(Reason::InvalidUrl, format!("{field}: {words}"));
}
