//! A TCP proxy that breaks connections as told.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, oneshot, watch},
};

use crate::ServerError;

/// What the proxy does to its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything.
    None,
    /// Open connections are reset; new ones are refused by the kernel (nothing listens).
    Refuse,
    /// Connections, open and new ones, stay open and nothing passes in either direction.
    HalfOpen,
    /// Each piece of data passes after this time.
    Delay(Duration),
    /// Requests pass; after this many bytes of replies a connection is reset (0 = no reply arrives).
    CutReplies(usize),
}

enum Order {
    Set(Fault, oneshot::Sender<()>),
    Cut(oneshot::Sender<()>),
}

/// A proxy on 127.0.0.1 with a thread of its own; it closes when this value is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    orders: mpsc::UnboundedSender<Order>,
}

impl FaultProxy {
    /// Starts one in front of a port of 127.0.0.1. It passes everything until told otherwise.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub async fn start(upstream_port: u16) -> Result<Self, ServerError> {
        let port = crate::free_port().map_err(ServerError::io("find a free port"))?;
        let io = || ServerError::io("start a proxy");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io())?;
        let (orders, incoming) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream_port));
        std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || {
                runtime.block_on(async move {
                    let listener = listen(port).await;
                    let _ = ready.send(());
                    run(listener, port, upstream, incoming).await;
                });
            })
            .map_err(io())?;
        is_ready.await.map_err(|_| ServerError::NotRunning("the proxy"))?;
        Ok(Self { port, orders })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `url` with its port replaced by the proxy's.
    pub fn through(&self, url: &str, upstream_port: u16) -> String {
        url.replace(&format!(":{upstream_port}"), &format!(":{}", self.port))
    }

    /// Changes the fault; it is in force when this returns.
    pub async fn set(&self, fault: Fault) {
        let (done, is_done) = oneshot::channel();
        let _ = self.orders.send(Order::Set(fault, done));
        let _ = is_done.await;
    }

    /// Resets all open connections, once; new ones are treated as before.
    pub async fn cut(&self) {
        let (done, is_done) = oneshot::channel();
        let _ = self.orders.send(Order::Cut(done));
        let _ = is_done.await;
    }
}

/// The port was free a moment ago, and is ours after a [`Fault::Refuse`]; so keep trying.
async fn listen(port: u16) -> TcpListener {
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::debug!(port, %error, "proxy cannot listen yet");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn run(first: TcpListener, port: u16, upstream: SocketAddr, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut listener = Some(first);
    let (fault, _) = watch::channel(Fault::None);
    let fault = Arc::new(fault);
    let mut generation = watch::channel(()).0;
    loop {
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Cut(done)) => {
                    generation = watch::channel(()).0;
                    let _ = done.send(());
                }
                Some(Order::Set(wanted, done)) => {
                    if wanted == Fault::Refuse {
                        listener = None;
                        generation = watch::channel(()).0;
                    } else if listener.is_none() {
                        listener = Some(listen(port).await);
                    }
                    fault.send_replace(wanted);
                    let _ = done.send(());
                }
            },
            accepted = accept => if let Ok((mut client, _)) = accepted {
                let mut cut = generation.subscribe();
                let fault = fault.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return reset(&client) };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let ended_by_peers = tokio::select! {
                        ended = pass(&mut client, &mut server, fault) => ended,
                        // The sender of this generation is dropped: cut.
                        _ = cut.changed() => false,
                    };
                    if !ended_by_peers {
                        reset(&client);
                        reset(&server);
                    }
                });
            },
        }
    }
}

/// Makes the kernel send RST instead of FIN when the stream is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Passes both ways until both sides are done (true) or the fault asks for a reset (false).
async fn pass(client: &mut TcpStream, server: &mut TcpStream, fault: watch::Receiver<Fault>) -> bool {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let requests = copy(client_read, server_write, fault.clone(), false);
    let replies = copy(server_read, client_write, fault, true);
    tokio::try_join!(requests, replies).is_ok()
}

/// The fault asks for a reset, or a side is gone.
struct Reset;

async fn copy(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    mut fault: watch::Receiver<Fault>,
    is_reply: bool,
) -> Result<(), Reset> {
    let mut buffer = vec![0; 64 * 1024];
    let mut passed = 0;
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| Reset)?;
        let now = *fault.wait_for(|fault| *fault != Fault::HalfOpen).await.map_err(|_| Reset)?;
        if length == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        match now {
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::CutReplies(limit) if is_reply => {
                let rest = limit.saturating_sub(passed);
                if length > rest {
                    let _ = to.write_all(&buffer[..rest]).await;
                    return Err(Reset);
                }
                passed += length;
            }
            _ => {}
        }
        to.write_all(&buffer[..length]).await.map_err(|_| Reset)?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{RedisServer, resp::Connection};

    async fn ping(port: u16) -> bool {
        let ask = async { Connection::open(port, None).await?.command(&["PING"]).await };
        matches!(tokio::time::timeout(Duration::from_secs(20), ask).await, Ok(Ok(_)))
    }

    #[tokio::test]
    async fn breaks_and_mends_connections() {
        let redis = RedisServer::start().await.unwrap();
        let proxy = FaultProxy::start(redis.port()).await.unwrap();
        assert_eq!(proxy.through(&redis.url(), redis.port()), format!("redis://127.0.0.1:{}", proxy.port()));
        let mut open = Connection::open(proxy.port(), None).await.unwrap();
        open.command(&["PING"]).await.unwrap();

        proxy.cut().await;
        assert!(open.command(&["PING"]).await.is_err());
        assert!(ping(proxy.port()).await);

        proxy.set(Fault::Refuse).await;
        assert!(TcpStream::connect(("127.0.0.1", proxy.port())).await.is_err());
        proxy.set(Fault::None).await;
        assert!(ping(proxy.port()).await);

        proxy.set(Fault::CutReplies(2)).await;
        let mut cut = Connection::open(proxy.port(), None).await.unwrap();
        assert!(cut.command(&["SET", "cut", "1"]).await.is_err());
        assert_eq!(redis.command(&["GET", "cut"]).await.unwrap().text(), "1", "the command itself arrived");

        proxy.set(Fault::HalfOpen).await;
        let mut held = Connection::open(proxy.port(), None).await.unwrap();
        let mut asked = std::pin::pin!(held.command(&["PING"]));
        assert!(tokio::time::timeout(Duration::from_millis(100), asked.as_mut()).await.is_err());
        proxy.set(Fault::Delay(Duration::from_millis(1))).await;
        asked.await.unwrap();
    }
}
