//! A closed loop of HTTP requests over raw connections: as little CPU as can be, since it shares a core with the role.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::process::{ROLE_CORE, pin};
use crate::worker::{Fatal, single_threaded};

/// What a run of the loop gave.
pub(super) struct Load {
    /// Answers 200.
    pub(super) answered: u64,
    /// Other answers and broken connections.
    pub(super) failed: u64,
    pub(super) elapsed: Duration,
    /// Of every answer, sorted.
    latencies: Vec<Duration>,
}

impl Load {
    /// The latency that `share` of the requests did not exceed.
    pub(super) fn percentile(&self, share: f64) -> Duration {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// A request with its head, ready to be sent again and again.
pub(super) fn post(path: &str, key: &str, body: &str) -> Arc<[u8]> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nX-API-KEY: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Arc::from(format!("{head}{body}").into_bytes())
}

/// Repeats `request` over `connections`, one at a time on each, for `length`, from a thread on the role's core.
pub(super) async fn closed_loop(
    port: u16,
    connections: usize,
    request: Arc<[u8]>,
    length: Duration,
) -> Result<Load, Fatal> {
    let thread = tokio::task::spawn_blocking(move || {
        pin(None, ROLE_CORE);
        let runtime = single_threaded()?;
        Ok(runtime.block_on(drive(port, connections, request, length)))
    });
    let joined = thread.await.map_err(|error| Fatal::failed("the load's thread", error))?;
    joined.map_err(|error: std::io::Error| Fatal::failed("the load's runtime", error))
}

async fn drive(port: u16, connections: usize, request: Arc<[u8]>, length: Duration) -> Load {
    let start = Instant::now();
    let end = start + length;
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        let request = request.clone();
        loops.spawn(async move { one_connection(port, &request, end).await });
    }
    let mut load = Load { answered: 0, failed: 0, elapsed: Duration::ZERO, latencies: Vec::new() };
    while let Some(joined) = loops.join_next().await {
        if let Ok((latencies, failed)) = joined {
            load.answered += latencies.len() as u64;
            load.failed += failed;
            load.latencies.extend(latencies);
        }
    }
    load.elapsed = start.elapsed();
    load.latencies.sort_unstable();
    load
}

async fn one_connection(port: u16, request: &[u8], end: Instant) -> (Vec<Duration>, u64) {
    let mut latencies = Vec::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect(address).await else { return (latencies, 1) };
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut failed = 0;
    while Instant::now() < end {
        let sent = Instant::now();
        match exchange(&mut stream, request, &mut buffer).await {
            Some(200) => latencies.push(sent.elapsed()),
            Some(_) => failed += 1,
            None => return (latencies, failed + 1),
        }
    }
    (latencies, failed)
}

/// Sends a request and reads its answer; the status, or nothing where the connection broke.
pub(super) async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).ok()?;
        let length = text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        })?;
        let status = text.get(9..12)?.parse().ok()?;
        while buffer.len() < head + 4 + length {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        return Some(status);
    }
}
