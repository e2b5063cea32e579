//! The ConfigMap that says how the front proxy is known, watched, since the CA is rotated. Who cannot be checked is not
//! believed.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, runtime::watcher::watch_object};
use tokio::sync::watch::{Receiver, Sender};

use super::{FrontProxy, request_header::RequestHeader};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// What was read is believed for so long after it can be read no longer: an API server that starts again takes less.
const BELIEVED: Duration = Duration::from_secs(60);
/// Pause before the watch is made anew: half of it fixed, half random.
const AGAIN: Duration = Duration::from_secs(4);

/// How the front proxy is known; `Err` = why it cannot be known.
pub(in super::super) type Trust = Result<FrontProxy, String>;

/// Keeps what is known of the front proxy up to date.
pub(in super::super) struct TrustWatch {
    api: Api<ConfigMap>,
    trust: Sender<Trust>,
    /// Since when the ConfigMap cannot be read.
    cut: Option<Instant>,
    /// What it said last.
    data: Option<BTreeMap<String, String>>,
}

impl TrustWatch {
    /// A watch that has not begun: nobody is believed.
    pub(in super::super) fn new(client: Client) -> (Self, Receiver<Trust>) {
        let trust = Sender::new(Err(because("has not been read yet")));
        let receiver = trust.subscribe();
        (Self { api: Api::namespaced(client, NAMESPACE), trust, cut: None, data: None }, receiver)
    }

    /// Watches for as long as it is polled. An error makes the watch anew, so that what is there is listed and known
    /// again.
    pub(in super::super) async fn keep(mut self) -> Result<(), Infallible> {
        loop {
            let mut seen = pin!(watch_object(self.api.clone(), NAME));
            while let Some(event) = seen.next().await {
                match event {
                    Ok(map) => self.seen(map.as_ref()),
                    Err(error) => {
                        self.unseen(&error.to_string());
                        break;
                    }
                }
            }
            tokio::time::sleep(AGAIN / 2 + AGAIN.mul_f64(fastrand::f64() / 2.0)).await;
        }
    }

    fn seen(&mut self, map: Option<&ConfigMap>) {
        self.cut = None;
        let data = map.and_then(|map| map.data.clone());
        // Lists come again and again.
        if self.data == data && self.trust.borrow().is_ok() {
            return;
        }
        self.data = data;
        let trust = match map {
            None => Err(because("does not exist")),
            Some(map) => RequestHeader::of(map).map(Arc::new).map_err(|why| because(&format!("is of no use: {why}"))),
        };
        match &trust {
            Ok(_) => tracing::info!("the request-header CA of the API server is known"),
            Err(why) => tracing::error!("{why}; external.metrics.k8s.io answers the API server with 503"),
        }
        let _before = self.trust.send_replace(trust);
    }

    fn unseen(&mut self, error: &str) {
        let since = *self.cut.get_or_insert_with(Instant::now);
        let why = because(&format!("cannot be read: {error}"));
        self.trust.send_if_modified(|trust| {
            let is_over = trust.is_ok() && since.elapsed() >= BELIEVED;
            if is_over || trust.as_ref().is_err_and(|before| *before != why) {
                tracing::error!("{why}; external.metrics.k8s.io answers the API server with 503");
                *trust = Err(why);
            }
            is_over
        });
    }
}

fn because(what: &str) -> String {
    format!(
        "the ConfigMap {NAMESPACE}/{NAME}, by which the API server's front proxy is known, {what} (the Role \
         extension-apiserver-authentication-reader grants reading it)"
    )
}
