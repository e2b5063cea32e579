//! A webhook receiver that records what it gets and answers as told.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Notify, oneshot},
};

use tokio_rustls::TlsAcceptor;

use crate::{ServerError, TlsFiles};

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers with a status, after a delay.
    Status {
        /// HTTP status code.
        status: u16,
        /// Time until the answer is sent.
        delay: Duration,
        /// Value of the header Retry-After.
        retry_after: Option<String>,
    },
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and closes the connection without an answer.
    Close,
}

impl Answer {
    /// Answers at once with a status.
    pub fn status(status: u16) -> Self {
        Self::Status { status, delay: Duration::ZERO, retry_after: None }
    }

    /// Answers 200 after a while.
    pub fn slow(delay: Duration) -> Self {
        Self::Status { status: 200, delay, retry_after: None }
    }

    /// Answers at once with a status and a Retry-After header.
    pub fn retry_after(status: u16, value: impl Into<String>) -> Self {
        Self::Status { status, delay: Duration::ZERO, retry_after: Some(value.into()) }
    }

    /// Whether this counts as delivered.
    fn is_success(&self) -> bool {
        matches!(self, Self::Status { status: 200..=299, .. })
    }
}

/// A request as the receiver saw it.
#[derive(Debug, Clone)]
pub struct Received {
    /// When its body was complete.
    pub at: Instant,
    /// Method and path, as `POST /`.
    pub target: String,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body, parsed; JSON null when it was none.
    pub json: serde_json::Value,
    /// The body as it came.
    pub body: Bytes,
    /// Whether it was answered with 2xx.
    pub delivered: bool,
}

impl Received {
    /// Value of a header, empty when it was not sent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// A member of the JSON object as text, empty when it is not there or no text.
    pub fn text(&self, member: &str) -> &str {
        self.json.get(member).and_then(serde_json::Value::as_str).unwrap_or_default()
    }
}

#[derive(Debug)]
struct State {
    records: AtomicBool,
    requests: AtomicU64,
    delivered: AtomicU64,
    received: Mutex<Vec<Received>>,
    script: Mutex<Script>,
    changed: Notify,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<Answer>,
    default: Answer,
}

impl State {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver on 127.0.0.1 with a thread of its own; it closes when this value is dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    is_tls: bool,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Webhook {
    /// Starts one on a free port. It answers 200 to everything until told otherwise.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub async fn start() -> Result<Self, ServerError> {
        let port = crate::free_port().map_err(ServerError::io("find a free port"))?;
        Self::start_on(port).await
    }

    /// Starts one on a port of 127.0.0.1 (0 = any).
    ///
    /// # Errors
    /// When the port is taken or no thread is to be had.
    pub async fn start_on(port: u16) -> Result<Self, ServerError> {
        Self::launch(port, None).await
    }

    /// Starts one with TLS on a free port; its URL says `localhost`.
    ///
    /// # Errors
    /// When the files are no good, or no port or thread is to be had.
    pub async fn start_tls(files: &TlsFiles) -> Result<Self, ServerError> {
        let port = crate::free_port().map_err(ServerError::io("find a free port"))?;
        Self::launch(port, Some(files.acceptor()?)).await
    }

    async fn launch(port: u16, tls: Option<TlsAcceptor>) -> Result<Self, ServerError> {
        let is_tls = tls.is_some();
        let io = || ServerError::io(format!("listen on 127.0.0.1:{port}"));
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).map_err(io())?;
        listener.set_nonblocking(true).map_err(io())?;
        let address = listener.local_addr().map_err(io())?;
        let state = Arc::new(State {
            records: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            received: Mutex::default(),
            script: Mutex::new(Script { next: VecDeque::new(), default: Answer::status(200) }),
            changed: Notify::new(),
        });
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io())?;
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("webhook".into())
            .spawn(move || {
                runtime.block_on(async move {
                    let _ = ready.send(());
                    tokio::select! {
                        () = serve(listener, shared, tls) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(io())?;
        is_ready.await.map_err(|_| ServerError::NotRunning("the webhook receiver"))?;
        Ok(Self { address, is_tls, state, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:<port>/`, with TLS `https://localhost:<port>/`.
    pub fn url(&self) -> String {
        if self.is_tls {
            return format!("https://localhost:{}/", self.port());
        }
        format!("http://{}/", self.address)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Answers everything like this from now on (what [`Self::answer_next`] has queued comes first).
    pub fn answer(&self, answer: Answer) {
        self.state.script().default = answer;
    }

    /// Queues answers for the next requests.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.script().next.extend(answers);
    }

    /// Switches the keeping of requests on or off (they are always counted).
    pub fn record(&self, on: bool) {
        self.state.records.store(on, Ordering::Relaxed);
    }

    /// Number of requests so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Number of requests that were given a 2xx.
    pub fn delivered(&self) -> u64 {
        self.state.delivered.load(Ordering::Relaxed)
    }

    /// The requests kept so far, in the order in which they came.
    pub fn received(&self) -> Vec<Received> {
        self.state.received().clone()
    }

    /// Looks at the requests kept so far without copying them.
    pub fn with_received<T>(&self, look: impl FnOnce(&[Received]) -> T) -> T {
        look(&self.state.received())
    }

    /// Takes the requests kept so far out.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.state.received())
    }

    /// Forgets the requests kept so far.
    pub fn clear(&self) {
        self.state.received().clear();
    }

    /// Waits until `count` requests have been given a 2xx.
    ///
    /// # Errors
    /// When that does not happen within `limit`; says how many there were.
    pub async fn wait_for(&self, count: u64, limit: Duration) -> Result<(), ServerError> {
        self.wait(limit, &format!("{count} requests"), || self.delivered() >= count).await
    }

    /// Waits until the kept requests satisfy `condition`.
    ///
    /// # Errors
    /// When that does not happen within `limit`.
    pub async fn wait_until(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&[Received]) -> bool,
    ) -> Result<(), ServerError> {
        self.wait(limit, "the condition", || condition(&self.state.received())).await
    }

    async fn wait(&self, limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<(), ServerError> {
        let wait = async {
            loop {
                // Registered before the look, so that no change falls between look and wait.
                let mut changed = std::pin::pin!(self.state.changed.notified());
                changed.as_mut().enable();
                if done() {
                    return;
                }
                changed.await;
            }
        };
        let result = tokio::time::timeout(limit, wait).await;
        result.map_err(|_| {
            ServerError::Answer(format!(
                "{what} not seen within {} s: {} requests came, {} of them delivered",
                limit.as_secs(),
                self.requests(),
                self.delivered()
            ))
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>, tls: Option<TlsAcceptor>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        match tls.clone() {
            None => drop(tokio::spawn(connection(stream, state))),
            Some(tls) => drop(tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    connection(stream, state).await;
                }
            })),
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| handle(Arc::clone(&state), request));
    // A sender that goes away, or an `Answer::Close`, ends the connection with an error: not ours.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed as told")]
struct Closed;

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let answer = {
        let mut script = state.script();
        script.next.pop_front().unwrap_or_else(|| script.default.clone())
    };
    if state.records.load(Ordering::Relaxed) {
        let headers = head.headers.iter();
        let received = Received {
            at: Instant::now(),
            target: format!("{} {}", head.method, head.uri),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            json: serde_json::from_slice(&body).unwrap_or_default(),
            body,
            delivered: answer.is_success(),
        };
        state.received().push(received);
    }
    state.requests.fetch_add(1, Ordering::Relaxed);
    if answer.is_success() {
        state.delivered.fetch_add(1, Ordering::Relaxed);
    }
    state.changed.notify_waiters();
    match answer {
        Answer::Close => Err(Closed),
        Answer::Hang => {
            std::future::pending::<()>().await;
            Err(Closed)
        }
        Answer::Status { status, delay, retry_after } => {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Some(value) = retry_after.and_then(|value| header::HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            Ok(response)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn post(port: u16, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nX-Key: k\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn records_requests_and_answers_as_told() {
        let webhook = Webhook::start().await.unwrap();
        webhook.answer_next([Answer::retry_after(429, "7"), Answer::Close]);
        let refused = post(webhook.port(), r#"{"a":"1"}"#).await;
        assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 7"), "{refused}");
        assert_eq!(post(webhook.port(), "{}").await, "");
        assert!(post(webhook.port(), r#"{"a":"2"}"#).await.starts_with("HTTP/1.1 200"));
        webhook.wait_for(1, LIMIT).await.unwrap();
        let received = webhook.received();
        assert_eq!((received.len(), webhook.requests(), webhook.delivered()), (3, 3, 1));
        assert_eq!((received[0].text("a"), received[0].header("x-key"), received[0].delivered), ("1", "k", false));
        assert_eq!((received[2].target.as_str(), received[2].text("a")), ("POST /x", "2"));
        assert!(webhook.wait_for(2, Duration::from_millis(20)).await.is_err());
    }

    #[tokio::test]
    async fn waits_for_a_request_that_comes_later() {
        let webhook = Webhook::start().await.unwrap();
        let port = webhook.port();
        let (waited, _) = tokio::join!(
            webhook.wait_until(LIMIT, |received| received.iter().any(|one| one.text("id") == "b")),
            async {
                post(port, r#"{"id":"a"}"#).await;
                post(port, r#"{"id":"b"}"#).await
            }
        );
        waited.unwrap();
    }
}
