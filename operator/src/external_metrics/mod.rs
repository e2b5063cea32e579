//! The API `external.metrics.k8s.io`: depths and ages of the pipelines' queues, for HorizontalPodAutoscalers.
//!
//! There is one such API in a cluster. It is taken only while a pipeline wants it and nobody else has it. Every replica
//! serves it, leader or not: [`queues`] reads Redis, `server` and `tls` are the port, `authentication` and `authorization`
//! ask the API server, `api` answers.

mod api;
mod authentication;
mod authorization;
pub mod certificate;
pub mod claim;
mod discovery;
mod owner;
mod peers;
pub mod queues;
pub(crate) mod scaling;
mod selector;
mod series;
mod server;
mod status;
mod target;
pub mod telemetry;
mod tls;
pub mod trust;
mod verdicts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::sign::CertifiedKey;
use tokio::sync::watch;

pub use self::server::{bind, serve};
use self::trust::{Announcement, Trust};
use crate::rules::PipelineKey;

/// Who has the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has not been looked at yet.
    #[default]
    Unknown,
    /// This operator does not serve it: it is told not to, or cannot; the reason in words.
    Off(String),
    /// Nobody; it becomes ours as soon as a pipeline wants it.
    Free,
    /// This operator.
    Ours,
    /// Somebody else; who, in words.
    Taken(String),
}

impl Standing {
    /// Whether a HorizontalPodAutoscaler may count on us; else why not.
    pub fn serves(&self) -> Result<(), String> {
        match self {
            Self::Free | Self::Ours => Ok(()),
            Self::Unknown => Err("who serves external.metrics.k8s.io is not known yet".to_owned()),
            Self::Off(why) => Err(why.clone()),
            Self::Taken(who) => Err(format!("external.metrics.k8s.io belongs to {who}")),
        }
    }
}

/// What the pipelines want of the API and what became of it. Clones share it.
#[derive(Clone, Default)]
pub struct ExternalMetrics {
    standing: Arc<watch::Sender<Standing>>,
    wanted: Arc<watch::Sender<bool>>,
    wanting: Arc<Mutex<BTreeSet<PipelineKey>>>,
    certificate: Arc<watch::Sender<Option<Arc<CertifiedKey>>>>,
    trust: Arc<watch::Sender<Trust>>,
    announcement: Arc<Mutex<Announcement>>,
}

impl ExternalMetrics {
    /// The certificate that the server shows from now on; connections that are open keep theirs. Without one, no handshake
    /// succeeds.
    pub fn set_certificate(&self, certificate: Option<Arc<CertifiedKey>>) {
        self.certificate.send_replace(certificate);
    }

    /// The certificate that the server shows.
    pub fn certificate(&self) -> watch::Receiver<Option<Arc<CertifiedKey>>> {
        self.certificate.subscribe()
    }

    /// What a client has to trust, of the certificate that the server shows.
    pub fn trust(&self) -> watch::Receiver<Trust> {
        self.trust.subscribe()
    }

    /// Says what a client has to trust.
    pub fn set_trust(&self, now: Trust) {
        self.trust.send_if_modified(|trust| {
            let changed = *trust != now;
            *trust = now;
            changed
        });
    }

    /// What the API servers have been told to trust.
    pub fn announcement(&self) -> Announcement {
        self.announcement.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The leader sees an APIService of ours with this `caBundle`, or none.
    pub fn announced(&self, bundle: Option<&[u8]>) {
        self.announcement.lock().unwrap_or_else(PoisonError::into_inner).seen(bundle);
    }

    /// Another replica leads: who has the API, and what wants it, is that one's to know.
    pub fn forget(&self) {
        *self.announcement.lock().unwrap_or_else(PoisonError::into_inner) = Announcement::Unknown;
        self.wanting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.wanted.send_replace(false);
        self.standing.send_replace(Standing::Unknown);
    }

    /// Who has the API now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Says who has it; tells who waits for changes.
    pub fn set_standing(&self, now: Standing) {
        self.standing.send_if_modified(|standing| {
            let changed = *standing != now;
            if changed {
                tracing::info!(?now, "external.metrics.k8s.io");
                *standing = now;
            }
            changed
        });
    }

    /// Sees every change of the standing; what is known now counts as seen.
    pub fn changes(&self) -> watch::Receiver<Standing> {
        let mut receiver = self.standing.subscribe();
        receiver.mark_unchanged();
        receiver
    }

    /// A pipeline has, or no longer has, a role that is scaled by this API.
    pub fn want(&self, pipeline: &PipelineKey, wants: bool) {
        let mut wanting = self.wanting.lock().unwrap_or_else(PoisonError::into_inner);
        if wants {
            wanting.insert(pipeline.clone());
        } else {
            wanting.remove(pipeline);
        }
        let any = !wanting.is_empty();
        self.wanted.send_if_modified(|wanted| std::mem::replace(wanted, any) != any);
    }

    /// Whether any pipeline wants it.
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }
}

/// Labels of what the operator makes for the API.
fn labels() -> BTreeMap<String, String> {
    [("app.kubernetes.io/managed-by", "mutt-operator"), ("app.kubernetes.io/part-of", "mutt")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_wanted_while_a_pipeline_wants_it() {
        let metrics = ExternalMetrics::default();
        let wanted = metrics.wanted();
        let (core, edge) = (PipelineKey::new("netops", "core"), PipelineKey::new("netops", "edge"));
        assert!(!*wanted.borrow());
        metrics.want(&core, true);
        metrics.want(&edge, true);
        metrics.want(&core, false);
        assert!(*wanted.borrow());
        metrics.want(&edge, false);
        assert!(!*wanted.borrow());
    }
}
