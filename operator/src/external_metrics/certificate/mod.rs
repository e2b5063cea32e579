//! The serving certificate of `external.metrics.k8s.io`: every replica reads its Secret again and again and shows what is in
//! it. Where the operator makes it itself, whoever comes first creates the Secret, and who leads renews it. Every write carries
//! the resourceVersion that it was decided on, so of two writers one looks again.

mod issue;
mod rotation;
mod stored;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::json;
use tokio::time::Instant;

pub use self::rotation::Pace;
use self::{
    rotation::{Step, next_step},
    stored::{Stored, first},
};
use super::{labels, owner::owner, trust::Trust};
use crate::{
    pipeline::error::in_words,
    runtime::{Context, args::CertificateSource},
};

/// How soon a round follows one that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long a missing right may be a matter of moments: an API server that has just started, a binding that is made anew.
const PASSES_WITHIN: Duration = Duration::from_secs(60);
/// How soon a round follows one in which another replica was faster.
const LOOK_AFTER: Duration = Duration::from_millis(200);
/// What readiness waits for.
const WAITED_FOR: &str = "certificate of external.metrics.k8s.io";
const MANAGER: &str = "mutt-operator";

/// Keeps the server's certificate, for as long as the process lives.
pub async fn keep(context: Arc<Context>) -> Result<(), Infallible> {
    keep_at(context, Pace::default()).await
}

/// The same at another pace.
pub async fn keep_at(context: Arc<Context>, pace: Pace) -> Result<(), Infallible> {
    let Ok(mut keeper) = Keeper::new(&context, pace) else {
        return std::future::pending().await;
    };
    // A pod that gets ready is asked: it should have a certificate then, or know why it has none.
    context.health.wait_for(WAITED_FOR, "the Secret has not been read yet");
    loop {
        let round = keeper.round().await;
        context.health.done(WAITED_FOR);
        let wait = match round {
            Ok(Round::Done) => pace.read_every,
            Ok(Round::Overtaken) => LOOK_AFTER,
            Err(trouble) => {
                keeper.say(&trouble);
                AGAIN_AFTER.min(pace.read_every)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// How a round ended.
enum Round {
    Done,
    /// Another replica wrote at the same time.
    Overtaken,
}

/// What is wrong with the certificate.
struct Trouble {
    why: String,
    /// Whether the Secret is known to be of no use; else only the API server did not say.
    certain: bool,
}

struct Keeper<'a> {
    context: &'a Context,
    pace: Pace,
    api: Api<Secret>,
    /// The Secret's name.
    name: String,
    /// `<service>.<namespace>.svc`.
    host: String,
    source: CertificateSource,
    owner: String,
    /// What is shown, as it was read.
    shown: Option<Stored>,
    failing_since: Option<Instant>,
    said: String,
}

impl<'a> Keeper<'a> {
    /// `Err` = nothing is served.
    fn new(context: &'a Context, pace: Pace) -> Result<Self, String> {
        let args = &context.args.external_metrics;
        let service = args.service()?;
        let namespace = context.namespace();
        Ok(Self {
            context,
            pace,
            api: Api::namespaced(context.client.clone(), namespace),
            name: args.secret.clone().unwrap_or_else(|| service.to_owned()),
            host: format!("{service}.{namespace}.svc"),
            source: args.certificate,
            owner: args.cluster_role.clone().unwrap_or_default(),
            shown: None,
            failing_since: None,
            said: String::new(),
        })
    }

    fn own(&self) -> bool {
        self.source == CertificateSource::Own
    }

    /// Reads the Secret once and does what is to be done about it.
    async fn round(&mut self) -> Result<Round, Trouble> {
        let now = Timestamp::now();
        if let Some(shown) = self.shown.take_if(|shown| shown.current.not_after <= now) {
            let expired = self.trouble(format!("held one that expired at {}", shown.current.not_after), true);
            self.say(&expired);
        }
        let found = match self.api.get_opt(&self.name).await {
            Ok(found) => found,
            Err(error) => {
                let lasts = self.failing_since.get_or_insert_with(Instant::now).elapsed() >= PASSES_WITHIN;
                let forbidden = matches!(&error, kube::Error::Api(status) if status.is_forbidden());
                return Err(self.trouble(format!("cannot be read: {}", in_words(&error)), forbidden && lasts));
            }
        };
        self.failing_since = None;
        let Some(secret) = found else {
            return if self.own() { self.create(now).await } else { Err(self.trouble(self.missing(), true)) };
        };
        match self.read(&secret, now) {
            Ok(stored) => {
                self.show(stored);
                if self.own() { self.rotate(&secret, now).await } else { Ok(Round::Done) }
            }
            Err(trouble) if self.own() => {
                self.say(&trouble);
                let content = self.content(now)?;
                self.write(&secret, content, now).await
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn read(&self, secret: &Secret, now: Timestamp) -> Result<Stored, Trouble> {
        // OpenShift's service CA does not say what it signs with; it writes that into the APIService.
        let signed = self.source != CertificateSource::OpenShift;
        Stored::read(secret, &self.host, signed, now)
            .map_err(|unusable| self.trouble(format!("cannot be served with: {unusable}"), true))
    }

    /// What is put into a Secret that is of no use: what is shown, which clients trust; else something new.
    fn content(&self, now: Timestamp) -> Result<BTreeMap<String, ByteString>, Trouble> {
        match &self.shown {
            Some(shown) => Ok(shown.data.clone()),
            None => Ok(first(self.issue(now)?)),
        }
    }

    fn issue(&self, now: Timestamp) -> Result<issue::Issued, Trouble> {
        let names = [self.host.clone(), format!("{}.cluster.local", self.host)];
        issue::issue(&names, SystemTime::from(now), self.pace.valid_for)
            .map_err(|error| self.trouble(format!("cannot be made: {error}"), true))
    }

    async fn create(&mut self, now: Timestamp) -> Result<Round, Trouble> {
        let owner = owner(&self.context.client, &self.owner).await.map_err(|why| self.trouble(why, true))?;
        let secret = Secret {
            metadata: serde_json::from_value(
                json!({"name": self.name, "labels": labels(), "ownerReferences": [owner]}),
            )
            .map_err(|error| self.trouble(error.to_string(), true))?,
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(self.content(now)?),
            ..Secret::default()
        };
        let written = self.api.create(&parameters(), &secret).await;
        self.written(written, now)
    }

    /// Puts other data into the Secret as it was read.
    async fn write(
        &mut self,
        secret: &Secret,
        data: BTreeMap<String, ByteString>,
        now: Timestamp,
    ) -> Result<Round, Trouble> {
        if secret.labels().get("app.kubernetes.io/managed-by").is_none_or(|manager| manager != MANAGER) {
            let why =
                format!("is not the operator's (label app.kubernetes.io/managed-by: {MANAGER}) and stays as it is");
            return Err(self.trouble(format!("{why}; delete it, and it is made anew"), true));
        }
        let secret = Secret { data: Some(data), ..secret.clone() };
        let written = self.api.replace(&self.name, &parameters(), &secret).await;
        self.written(written, now)
    }

    fn written(&mut self, written: Result<Secret, kube::Error>, now: Timestamp) -> Result<Round, Trouble> {
        match written {
            Ok(secret) => {
                let stored = self.read(&secret, now)?;
                self.show(stored);
                Ok(Round::Done)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Round::Overtaken),
            Err(error) => {
                let refused = matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code));
                Err(self.trouble(format!("cannot be written: {}", in_words(&error)), refused))
            }
        }
    }

    /// One step on the way to the next certificate, if there is one to go.
    async fn rotate(&mut self, secret: &Secret, now: Timestamp) -> Result<Round, Trouble> {
        let Some(shown) = &self.shown else { return Ok(Round::Done) };
        let announcement = self.context.external_metrics.announcement();
        let data = match next_step(shown, &announcement, now, &self.pace) {
            Step::Nothing => return Ok(Round::Done),
            Step::Prepare => shown.prepared(self.issue(now)?, now),
            Step::Switch => shown.switched(),
        };
        self.write(secret, data, now).await
    }

    /// Shows what the Secret holds, and says what is to be trusted for it.
    fn show(&mut self, stored: Stored) {
        let before = self.shown.as_ref().map(|shown| &shown.current);
        if before.is_none_or(|before| before.shown.cert != stored.current.shown.cert) {
            let until = stored.current.not_after;
            tracing::info!(secret = self.name, %until, "the certificate of external.metrics.k8s.io");
            self.context.external_metrics.set_certificate(Some(stored.current.shown.clone()));
            self.context.metrics.set_certificate_expiry(until.as_second());
        }
        self.said.clear();
        self.context.external_metrics.set_trust(match self.source {
            CertificateSource::Own => Trust::Bundle(stored.authorities().to_vec()),
            CertificateSource::CertManager | CertificateSource::OpenShift => Trust::Injected,
        });
        self.shown = Some(stored);
    }

    /// Says what is wrong, once; what is shown stays for as long as it is valid.
    fn say(&mut self, trouble: &Trouble) {
        if trouble.why != self.said {
            tracing::error!("{}", trouble.why);
            self.said.clone_from(&trouble.why);
        }
        if self.shown.is_none() && trouble.certain {
            self.context.external_metrics.set_certificate(None);
            self.context.external_metrics.set_trust(Trust::Unserved(trouble.why.clone()));
            self.context.metrics.set_certificate_expiry(0);
        }
    }

    fn trouble(&self, what: impl std::fmt::Display, certain: bool) -> Trouble {
        Trouble { why: format!("the Secret {} of external.metrics.k8s.io's certificate {what}", self.name), certain }
    }

    fn missing(&self) -> String {
        let maker = match self.source {
            CertificateSource::Own => "the operator",
            CertificateSource::CertManager => "cert-manager, from the Certificate of the same name",
            CertificateSource::OpenShift => "OpenShift, from the Service's annotation serving-cert-secret-name",
        };
        format!("is not there; it is made by {maker}")
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}
