//! The accept loop.

use std::{
    convert::Infallible,
    error::Error,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{Request, Response, body::Body, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Tls, timer::HeadTimer};
use crate::worker::{Fatal, Shutdown};

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open connections; more wait in the kernel's backlog.
    pub(crate) connections: usize,
    /// From the first byte of a request to the end of its head, and for a TLS handshake.
    pub(crate) header: Duration,
    /// How long open connections may finish their requests after the end was asked for.
    pub(crate) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1_000, header: Duration::from_secs(10), drain: Duration::from_secs(10) }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Listens on a port of all addresses, IPv6 and IPv4 where the machine has both.
pub(crate) async fn bind(port: u16) -> Result<TcpListener, Fatal> {
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(|source| Fatal::Listen { port, source })
}

/// Serves `router` until the end is asked for and open requests are answered. Handlers find [`Peer`] in the extensions.
pub(crate) async fn serve_router(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: Shutdown,
    router: axum::Router,
) {
    serve(listener, tls, limits, shutdown, move |peer| {
        TowerToHyperService::new(router.clone().layer(axum::Extension(peer)))
    })
    .await;
}

/// Serves with the service that `make` gives for each connection, until the end is asked for and open requests are
/// answered.
pub(crate) async fn serve<M, S, B>(listener: TcpListener, tls: Option<Tls>, limits: Limits, shutdown: Shutdown, make: M)
where
    M: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = shutdown.requested() => break,
        };
        while connections.try_join_next().is_some() {}
        let Some((slot, stream, peer)) = accepted else { continue };
        let service = make(peer);
        let (tls, shutdown) = (tls.clone(), shutdown.clone());
        connections.spawn(async move {
            let _slot = slot;
            match tls {
                None => converse(stream, service, limits, shutdown).await,
                Some(tls) => match timeout(limits.header, tls.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, service, limits, shutdown).await,
                    Ok(Err(error)) => tracing::debug!(peer = %peer.0, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(peer = %peer.0, "TLS handshake took too long"),
                },
            }
        });
    }
    drop(listener);
    let drained = timeout(limits.drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(open = connections.len(), "connections cut: their requests did not end in time");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream, Peer)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            // Answers are small and single; waiting to fill a segment only delays them.
            let _ = stream.set_nodelay(true);
            Some((slot, stream, Peer(address)))
        }
        Err(error) => {
            // Out of file descriptors, mostly: waiting lets some close.
            tracing::warn!(%error, "cannot accept a connection");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn converse<I, S, B>(stream: I, service: S, limits: Limits, shutdown: Shutdown)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder.timer(HeadTimer::default()).header_read_timeout(limits.header);
    // Answers are small: copied behind their head they take one plain send, which costs less than a vectored one.
    builder.writev(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
