//! From a request to its answer: who asks, whether they may, and what they asked for.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::{
    authentication::Authentication,
    authorization::Authorization,
    discovery,
    queues::Queues,
    selector::Selector,
    series::{self, Metric},
    status::{Kind, Refusal, document},
    target::Target,
};

/// Bound of an answer. The API server itself gives one up after a minute, with words that help less.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Anybody in the cluster can have requests refused; their lines must not fill the log.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// What answers need.
pub(super) struct Api {
    queues: Queues,
    authentication: Authentication,
    authorization: Authorization,
    logged: Mutex<Option<Instant>>,
}

impl Api {
    pub(super) fn new(queues: Queues, authentication: Authentication, authorization: Authorization) -> Self {
        Self { queues, authentication, authorization, logged: Mutex::default() }
    }

    /// Answers a request that came on a connection on which this chain was shown (empty = none).
    pub(super) async fn answer(
        &self,
        chain: &[CertificateDer<'static>],
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Response {
        // Boxed without its type, which is so deep that the compiler gives up on it as part of the connection's.
        let answer = self.answer_unbounded(chain, method, uri, headers).boxed();
        let answer = timeout(ANSWER_WITHIN, answer).await;
        let late = |_| Err(Kind::Timeout.with(format!("no answer within {ANSWER_WITHIN:?}")));
        answer.unwrap_or_else(late).unwrap_or_else(|refusal| {
            self.log(&refusal);
            refusal.into_response()
        })
    }

    /// An API server whose certificate is refused shows nobody why: the APIService says "bad status", no more.
    fn log(&self, refusal: &Refusal) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if refusal.is(Kind::Unauthorized) && logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY) {
            *logged = Some(Instant::now());
            tracing::warn!(%refusal, "a request for external metrics is refused; further ones are not told for a minute");
        }
    }

    async fn answer_unbounded(
        &self,
        chain: &[CertificateDer<'static>],
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let target = Target::of(uri.path());
        if !target.is_public() {
            let caller = self.authentication.caller(chain, headers).await?;
            if target == Target::Nothing {
                // No right is needed for hearing that, and none is asked for: there are too many such paths.
                return Err(Kind::NotFound.with("there is nothing under this path"));
            }
            let verb = if *method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
            self.authorization.check(&caller, &verb, uri.path(), &target).await?;
        }
        if *method != Method::GET && *method != Method::HEAD {
            return Err(Kind::MethodNotAllowed.with("nothing can be written here"));
        }
        if target.is_public() {
            return Ok(self.probe(&target));
        }
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        if !discovery::takes_json(accept) {
            return Err(Kind::NotAcceptable.with("answers are application/json, without aggregated discovery"));
        }
        self.told(target, uri).await
    }

    async fn told(&self, target: Target<'_>, uri: &Uri) -> Result<Response, Refusal> {
        let value = match target {
            Target::Version => discovery::version(),
            Target::Groups => discovery::groups(),
            Target::Group => discovery::group(),
            Target::Resources => discovery::resources(),
            Target::OpenApiV2 => discovery::open_api_v2(),
            Target::OpenApiV3 => discovery::open_api_v3(),
            Target::OpenApiV3Document => discovery::open_api_v3_document(),
            Target::Metric { namespace, metric } => {
                let known = Metric::from_name(metric).ok_or_else(|| {
                    let names = Metric::ALL.map(Metric::name).join(" and ");
                    Kind::NotFound.with(format!("there is no metric {metric:?}; there are {names}"))
                })?;
                series::values(&self.queues, namespace, known, &asked(uri)?).await?
            }
            Target::Live | Target::Ready | Target::Nothing => {
                return Err(Kind::NotFound.with("there is nothing under this path"));
            }
        };
        Ok(document(StatusCode::OK, &value))
    }

    fn probe(&self, target: &Target<'_>) -> Response {
        let troubles: Vec<String> = match target {
            Target::Ready => {
                [self.queues.ready(), self.authentication.ready()].into_iter().filter_map(Result::err).collect()
            }
            _ => Vec::new(),
        };
        if troubles.is_empty() {
            return (StatusCode::OK, "ok").into_response();
        }
        (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n")).into_response()
    }
}

/// The selector of a query.
fn asked(uri: &Uri) -> Result<Selector, Refusal> {
    let mut selector = None;
    for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "labelSelector" if selector.is_some() => {
                return Err(Kind::BadRequest.with("labelSelector is given more than once"));
            }
            "labelSelector" => {
                let parsed = Selector::parse(&value).map_err(|error| Kind::BadRequest.with(error.to_string()))?;
                selector = Some(parsed);
            }
            "watch" if value != "false" && value != "0" => {
                return Err(Kind::MethodNotAllowed.with("metrics cannot be watched"));
            }
            _ => {}
        }
    }
    Ok(selector.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_at_most_one_selector() {
        let of = |query: &str| asked(&format!("/x?{query}").parse().unwrap());
        assert_eq!(of("").unwrap(), Selector::default());
        assert_eq!(of("limit=500&labelSelector=").unwrap(), Selector::default());
        assert_eq!(
            of("labelSelector=pipeline%3Dcore%2Cqueue%20in%20(alert)").unwrap(),
            Selector::parse("pipeline=core,queue in (alert)").unwrap()
        );
        assert_eq!(
            of("labelSelector=a&labelSelector=b").unwrap_err(),
            Kind::BadRequest.with("labelSelector is given more than once")
        );
        assert!(of("labelSelector=%3D").is_err());
        assert!(of("watch=true").is_err());
        assert!(of("watch=false").is_ok());
    }
}
