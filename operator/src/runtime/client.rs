//! The connection to the API server.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response,
    body::{self, Bytes},
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, Service, layer::layer_fn, util::MapRequestLayer};

use super::{Fatal, metrics::Metrics};

/// Bound of a request and its answer, retries included. kube has none: with an API server that took the request and froze,
/// a reconcile would wait for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client as the kubeconfig or the pod's service account says; nothing is sent yet.
pub async fn connect(metrics: Arc<Metrics>) -> Result<Client, Fatal> {
    let config = Config::infer().await.map_err(|error| Fatal::failed("no API server is known", error))?;
    tracing::info!(server = %config.cluster_url, namespace = config.default_namespace, "the API server");
    client_of(config, metrics, ANSWER_TIMEOUT)
}

/// A client that gives a request up after `bound`. Requests that write are counted here, where none can be forgotten.
pub fn client_of(config: Config, metrics: Arc<Metrics>, bound: Duration) -> Result<Client, Fatal> {
    let builder = ClientBuilder::try_from(config).map_err(|error| Fatal::failed("cannot make a client", error))?;
    let counted = MapRequestLayer::new(move |request| {
        metrics.sent(&request);
        request
    });
    Ok(builder.with_layer(&layer_fn(|inner| Bounded { inner, bound })).with_layer(&counted).build())
}

/// Gives a request up after a while. Of a stream, only the head of the answer is bounded; kube's watcher itself leaves a
/// watch that has fallen silent.
struct Bounded<S> {
    inner: S,
    bound: Duration,
}

/// An answer: read already, or a stream.
type Answer<B> = Response<Either<Full<Bytes>, B>>;

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: body::Body<Data = Bytes, Error = BoxError> + Send,
{
    type Response = Answer<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (bound, stream) = (self.bound, is_stream(request.uri().query()));
        let what = format!("{} {}", request.method(), request.uri().path());
        let answer = self.inner.call(request);
        let read = async move {
            let (head, body) = answer.await?.into_parts();
            let body =
                if stream { Either::Right(body) } else { Either::Left(Full::new(body.collect().await?.to_bytes())) };
            Ok(Response::from_parts(head, body))
        };
        Box::pin(async move {
            let given_up = |_| format!("the API server has not answered {what} within {bound:?}");
            tokio::time::timeout(bound, read).await.map_err(given_up)?
        })
    }
}

/// A watch or a log that is followed.
fn is_stream(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "follow=true")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_given_up_unless_it_is_a_stream() {
        let endless = service_fn(async |_: Request<Body>| {
            let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>());
            Ok::<_, BoxError>(Response::new(body))
        });
        let mut bounded = Bounded { inner: endless, bound: Duration::from_millis(100) };
        let request = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
        let error = bounded.ready().await.unwrap().call(request("/api/v1/pods?limit=500")).await.unwrap_err();
        assert_eq!(error.to_string(), "the API server has not answered GET /api/v1/pods within 100ms");
        let watch = bounded.ready().await.unwrap().call(request("/api/v1/pods?limit=500&watch=true")).await;
        assert!(matches!(watch.unwrap().into_body(), Either::Right(_)));
    }
}
