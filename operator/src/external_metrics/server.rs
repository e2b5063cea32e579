//! The TLS port: a bounded number of connections, each bounded in time, and an orderly end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    api::Api,
    authentication::{Authentication, TrustWatch},
    authorization::Authorization,
    peers::Peers,
    tls,
};
use crate::runtime::{Args, Context, Fatal, Shutdown, health::Health, http, metrics::Metrics};

/// Open connections; each API server keeps a few, more wait in the kernel's backlog. Ten strangers who keep all that one address
/// may have leave room for the API servers; each connection takes some 30 KiB.
const CONNECTIONS_MAX: usize = 512;
/// Of one address. An API server opens one for each question under way: five of the HPA controller, five of its own.
const PEER_CONNECTIONS_MAX: usize = 48;
/// Bound of a handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// From the end of an answer to the end of the next request's head: longer than the 15 s between two questions of the HPA
/// controller, so that its connections stay open.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// The same for who shows no client certificate: no API server.
const STRANGERS_HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long readiness waits until what answers need is known. What is missing for longer is said in the answers and in the log: a
/// standby must not be missed for it.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// What readiness waits for.
const WAITED_FOR: &str = "external metrics";
/// A user may be in hundreds of groups, each of which is a header.
const HEADERS_MAX: usize = 1_000;
const HEAD_BYTES_MAX: usize = 128 * 1024;
/// After the end is asked for, API servers come for a while until they have heard that this replica goes.
const LAME_DUCK: Duration = Duration::from_secs(3);
/// How long answers under way may take after that. With what a leader may take for its own work, it stays below the 30 s
/// that Kubernetes gives a pod.
const DRAIN: Duration = Duration::from_secs(3);

/// Listens where this operator is to serve the API; `None` = it is not, which is said.
pub async fn bind(args: &Args) -> Result<Option<TcpListener>, Fatal> {
    match args.external_metrics.service() {
        Ok(_) => http::bind(args.external_metrics.port).await.map(Some),
        Err(why) => {
            tracing::info!("external.metrics.k8s.io is off: {why}");
            Ok(None)
        }
    }
}

/// Serves the API until the end is asked for; needs no leadership. Without a listener it only waits.
pub async fn serve(context: Arc<Context>, listener: Option<TcpListener>, end: Shutdown) -> Result<(), rustls::Error> {
    let queues = context.queues.clone();
    let Some(listener) = listener else {
        tokio::select! {
            () = end.requested() => {}
            () = get_ready(&context.health, || queues.ready()) => {}
        }
        return Ok(());
    };
    let acceptor = tls::acceptor(context.external_metrics.certificate())?;
    let client = context.client.clone();
    let (keeper, trust) = TrustWatch::new(client.clone());
    let front_proxy = trust.clone();
    let known = || queues.ready().and_then(|()| front_proxy.borrow().as_ref().map(drop).map_err(Clone::clone));
    let authentication = Authentication::new(client.clone(), trust);
    let api = Api::new(context.queues.clone(), authentication, Authorization::new(client));
    let (closes, closing) = Shutdown::channel();
    let lame_duck = async {
        end.requested().await;
        tokio::time::sleep(LAME_DUCK).await;
        closes.request();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        Err(never) = keeper.keep() => match never {},
        () = lame_duck => Ok(()),
        () = get_ready(&context.health, known) => Ok(()),
        () = connections(listener, acceptor, api, context.metrics.clone(), closing) => Ok(()),
    }
}

/// Readiness waits until what answers need is `known`: API servers and KEDA ask a pod as soon as it is ready. Does not end.
async fn get_ready(health: &Health, known: impl Fn() -> Result<(), String>) {
    let until = Instant::now() + READY_WITHIN;
    while let Err(why) = known() {
        if Instant::now() >= until {
            break;
        }
        health.wait_for(WAITED_FOR, why);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    health.done(WAITED_FOR);
    std::future::pending::<()>().await;
}

/// Takes connections until the end is asked for, then ends what is under way.
async fn connections(listener: TcpListener, acceptor: TlsAcceptor, api: Api, metrics: Arc<Metrics>, end: Shutdown) {
    let shared = Arc::new(Shared { acceptor, api, metrics, end: end.clone() });
    let (slots, peers) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Peers::new(PEER_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Some(accepted) = end.or(http::accept(&listener, &slots)).await {
        while connections.try_join_next().is_some() {}
        let Some((slot, stream)) = accepted else { continue };
        let Ok(peer) = stream.peer_addr() else { continue };
        let Some(guest) = peers.enter(peer.ip()) else {
            tracing::debug!(%peer, "too many connections of this address");
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            let _counted = (slot, guest);
            shared.connection(stream, peer).await;
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, all).await.is_err() {
        tracing::warn!("requests for external metrics cut: they did not end in time");
    }
}

struct Shared {
    acceptor: TlsAcceptor,
    api: Api,
    metrics: Arc<Metrics>,
    end: Shutdown,
}

impl Shared {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let stream = match timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
        };
        let chain: Vec<CertificateDer<'static>> = stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|der| der.clone().into_owned())
            .collect();
        let answer = service_fn(|request: Request<Incoming>| self.answer(&chain, request));
        let mut builder = http1::Builder::new();
        let head_within = if chain.is_empty() { STRANGERS_HEAD_WITHIN } else { HEAD_WITHIN };
        builder.timer(TokioTimer::new()).header_read_timeout(head_within);
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.end.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended early");
        }
    }

    async fn answer(
        &self,
        chain: &[CertificateDer<'static>],
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let (head, _) = request.into_parts();
        let response = self.api.answer(chain, &head.method, &head.uri, &head.headers).await;
        self.metrics.queues.answered(response.status().as_u16());
        tracing::debug!(method = %head.method, uri = %head.uri, code = response.status().as_u16(), "external metrics");
        Ok(response)
    }
}
