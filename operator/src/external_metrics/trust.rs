//! What clients of the server have to trust, and what they have been told to. Who keeps the certificate says the first, who
//! keeps the APIService says the second.

use tokio::time::Instant;

/// What a client has to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// It has not been looked at yet.
    #[default]
    Unknown,
    /// There is no certificate to show; why, in words.
    Unserved(String),
    /// These CAs, PEM.
    Bundle(Vec<u8>),
    /// CAs that somebody else writes into the APIService.
    Injected,
}

/// What the API servers have been told to trust, as far as this replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Announcement {
    /// Another replica leads, or this one has not looked yet.
    #[default]
    Unknown,
    /// There is no APIService of ours: nobody asks us.
    Nobody {
        /// Since when, at the latest.
        since: Instant,
    },
    /// These CAs, PEM.
    Bundle {
        /// The APIService's `caBundle`.
        trusted: Vec<u8>,
        /// Since when, at the latest.
        since: Instant,
    },
}

impl Announcement {
    /// What is seen now; what was seen before keeps its time.
    pub(super) fn seen(&mut self, bundle: Option<&[u8]>) {
        match (&*self, bundle) {
            (Self::Nobody { .. }, None) => {}
            (Self::Bundle { trusted, .. }, Some(bundle)) if trusted == bundle => {}
            (_, None) => *self = Self::Nobody { since: Instant::now() },
            (_, Some(bundle)) => *self = Self::Bundle { trusted: bundle.to_vec(), since: Instant::now() },
        }
    }
}
