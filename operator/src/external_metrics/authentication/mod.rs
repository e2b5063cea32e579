//! Who asks. Believed are the headers of the API server's front proxy, which shows a client certificate of its own CA
//! under an allowed name, and tokens that the API server knows; nothing else.

mod request_header;
mod watch;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch::Receiver};

pub(super) use self::watch::{Trust, TrustWatch};
use super::{
    status::{Kind, Refusal},
    verdicts::Verdicts,
};

/// Tokens that are looked up at the same time.
const REVIEWS_MAX: usize = 8;
/// Who shows a token that is none waits so long, and with them one place of the above: made-up tokens, of which anybody has
/// as many as they like, become twenty requests a second at most. More would use up the share of the API server that the
/// operator needs for its own work.
const UNKNOWN_TOKEN_PAUSE: Duration = Duration::from_millis(400);
/// The group of everybody who is known; `system:discovery` is granted to it.
const AUTHENTICATED: &str = "system:authenticated";
/// Members are those whom the API server itself does not know.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who asks, as the API server knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) uid: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl Caller {
    /// As every server that delegates to the API server does: the headers leave this group out for some of its own users.
    fn known(mut self) -> Self {
        if !self.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

impl From<UserInfo> for Caller {
    fn from(info: UserInfo) -> Self {
        Self {
            user: info.username.unwrap_or_default(),
            uid: info.uid.filter(|uid| !uid.is_empty()),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        }
    }
}

/// Finds out who asks.
pub(super) struct Authentication {
    client: Client,
    trust: Receiver<Trust>,
    /// `None` = the API server does not know the token.
    tokens: Verdicts<Option<Caller>>,
    reviews: Semaphore,
}

impl Authentication {
    pub(super) fn new(client: Client, trust: Receiver<Trust>) -> Self {
        Self { client, trust, tokens: Verdicts::new(), reviews: Semaphore::new(REVIEWS_MAX) }
    }

    /// Whether the front proxy can be known by its certificate; else why not.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.trust.borrow().as_ref().map(drop).map_err(Clone::clone)
    }

    /// Who sent these headers on a connection on which this chain was shown (empty = none).
    pub(super) async fn caller(
        &self,
        chain: &[CertificateDer<'static>],
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        let by_certificate = self.by_certificate(chain, headers);
        if let Ok(Some(caller)) = by_certificate {
            return Ok(caller.known());
        }
        if let Some(token) = bearer(headers) {
            return match self.by_token(token).await? {
                Some(caller) => Ok(caller.known()),
                None => Err(Kind::Unauthorized.with("the bearer token is not known to the API server")),
            };
        }
        match by_certificate {
            Ok(_) => Err(Kind::Unauthorized
                .with("neither the API server's front proxy, with its client certificate, nor a bearer token")),
            Err(refusal) => Err(refusal),
        }
    }

    fn by_certificate(
        &self,
        chain: &[CertificateDer<'static>],
        headers: &HeaderMap,
    ) -> Result<Option<Caller>, Refusal> {
        let Some((certificate, intermediates)) = chain.split_first() else { return Ok(None) };
        let trust = self.trust.borrow().clone();
        // The certificate may be a good one: that it cannot be looked at is not the sender's fault.
        let front_proxy = trust.map_err(|why| Kind::Unavailable.with(why))?;
        front_proxy.check(certificate, intermediates).map_err(|why| Kind::Unauthorized.with(why))?;
        front_proxy.caller(headers).map_err(|why| Kind::Unauthorized.with(why))
    }

    async fn by_token(&self, token: &str) -> Result<Option<Caller>, Refusal> {
        let question = Verdicts::<Option<Caller>>::question(token.as_bytes());
        if let Some(known) = self.tokens.get(&question, Instant::now()) {
            return Ok(known);
        }
        let _turn = self.reviews.acquire().await;
        let asked = Instant::now();
        if let Some(known) = self.tokens.get(&question, asked) {
            return Ok(known);
        }
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "a bearer token cannot be looked up");
            Kind::Unavailable.with(format!("the API server does not say whose the bearer token is: {error}"))
        })?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(Caller::from);
        let caller = user.filter(|caller| !caller.user.is_empty());
        self.tokens.put(question, asked, caller.clone());
        if caller.is_none() {
            tokio::time::sleep(UNKNOWN_TOKEN_PAUSE).await;
        }
        Ok(caller)
    }
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// How the front proxy is known: shared between the watch and all requests.
type FrontProxy = Arc<request_header::RequestHeader>;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_one() {
        for (text, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            assert_eq!(bearer(&headers), token, "{text}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn whoever_is_known_is_in_the_group_of_the_known() {
        let of = |groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            Caller { groups, ..Caller::default() }.known().groups
        };
        assert_eq!(of(&[]), [AUTHENTICATED]);
        assert_eq!(of(&["system:masters"]), ["system:masters", AUTHENTICATED]);
        assert_eq!(of(&[AUTHENTICATED]), [AUTHENTICATED]);
        assert_eq!(of(&[UNAUTHENTICATED]), [UNAUTHENTICATED], "whom the API server does not know stays unknown");
    }
}
