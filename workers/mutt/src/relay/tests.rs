//! The relay against a scripted stand-in of the ingest API.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mutt_secrets::Secrets;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::drain::{BatchLimits, Counts, Drain};
use super::post::Poster;
use super::segment::Range;
use super::spool::Spool;

/// What the stand-in does with a request.
enum Script {
    /// Answers with this and takes nothing.
    Answer(u16, &'static str, &'static str),
    /// Takes the batch and closes the connection without an answer.
    TakeAndHangUp,
    /// Takes the batch but says that this many items are in dlq:ingest.
    TakeSome(u64),
}

#[derive(Default)]
struct State {
    script: VecDeque<Script>,
    /// Bodies refused with 400 as a whole: those that contain this.
    poison: Option<&'static str>,
    keys: HashMap<String, usize>,
    requests: Vec<String>,
    events: Vec<Value>,
}

struct Ingestor {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Ingestor {
    async fn start(script: impl IntoIterator<Item = Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v2/ingest", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state }
    }

    fn messages(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    fn drain(&self, spool: &Spool, directory: &Path, lines: usize) -> Drain {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let variables =
            [("INGEST_API_KEY".to_owned(), "old".to_owned()), ("INGEST_API_KEY_NEXT".to_owned(), "new".to_owned())];
        let secrets = Secrets::from_variables(&variables.into()).unwrap();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30)).build().unwrap();
        Drain {
            spool: spool.clone(),
            poster: Poster::new(client, self.url.clone(), true, secrets),
            limits: BatchLimits { lines, bytes: 4096 },
            collector: "collector".to_owned(),
            directory: directory.to_owned(),
            counts: Arc::new(Counts::default()),
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some((headers, body)) = request(&mut stream).await {
        let Some(answer) = handle(&headers, &body, &mut state.lock().unwrap()) else { return };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(HashMap<String, String>, Vec<u8>)> {
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_owned())),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        body = plain;
    }
    Some((headers, body))
}

/// The answer; `None` = hang up.
fn handle(headers: &HashMap<String, String>, body: &[u8], state: &mut State) -> Option<String> {
    let key = headers["idempotency-key"].clone();
    state.requests.push(key.clone());
    if headers["x-api-key"] != "new" {
        return Some(answer(401, "", r#"{"code":"auth","message":"Unauthorized"}"#));
    }
    let text = String::from_utf8(body.to_vec()).unwrap();
    if state.poison.is_some_and(|poison| text.contains(poison)) {
        return Some(answer(400, "", r#"{"code":"json","message":"Invalid JSON"}"#));
    }
    let script = state.script.pop_front();
    if let Some(Script::Answer(status, headers, body)) = script {
        return Some(answer(status, headers, body));
    }
    let events: Vec<Value> = if text.starts_with('[') {
        serde_json::from_str(&text).unwrap()
    } else {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let count = events.len();
    if state.keys.insert(key, count).is_none() {
        state.events.extend(events);
    }
    match script {
        Some(Script::TakeAndHangUp) => None,
        Some(Script::TakeSome(kept)) => {
            Some(answer(207, "", &format!(r#"{{"accepted":1,"rejected":{kept},"errors":[]}}"#)))
        }
        _ => Some(answer(200, "", &format!(r#"{{"status":"queued","accepted":{count},"rejected":0}}"#))),
    }
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn append(spool: &Spool, messages: impl IntoIterator<Item = String>) -> Vec<String> {
    let messages: Vec<String> = messages.into_iter().collect();
    for message in &messages {
        let line = format!("{}\n", serde_json::json!({"timestamp": "0", "hostname": "h", "message": message}));
        spool.append(line.as_bytes(), Duration::ZERO).unwrap();
    }
    messages
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("event {number}"))
}

/// Drains everything; a generous limit, since only a hang exceeds it.
async fn drain_all(drain: &Drain) {
    drain.spool.close();
    tokio::time::timeout(Duration::from_mins(1), drain.run()).await.unwrap().unwrap();
    assert_eq!(drain.spool.waiting(), 0);
}

#[tokio::test]
async fn every_line_arrives_once_whatever_the_ingestor_answers_in_between() {
    let trouble = [
        Script::Answer(503, "Retry-After: 0\r\n", r#"{"code":"queue_full"}"#),
        Script::TakeAndHangUp,
        Script::Answer(429, "", "{}"),
        Script::Answer(500, "", "not json"),
        Script::TakeAndHangUp,
    ];
    let ingestor = Ingestor::start(trouble).await;
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1 << 20).unwrap();
    let sent = append(&spool, numbered(250));
    let drain = ingestor.drain(&spool, directory.path(), 100);
    drain_all(&drain).await;
    assert_eq!(ingestor.messages(), sent);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "drained segments are deleted");
}

#[tokio::test]
async fn the_next_key_is_used_when_the_first_is_refused() {
    let ingestor = Ingestor::start([]).await;
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1 << 20).unwrap();
    append(&spool, numbered(1));
    drain_all(&ingestor.drain(&spool, directory.path(), 100)).await;
    assert_eq!(ingestor.requests().len(), 2);
    assert_eq!(ingestor.messages(), ["event 0"]);
}

#[tokio::test]
async fn items_that_the_ingestor_keeps_in_its_dead_letters_are_done() {
    let ingestor = Ingestor::start([Script::TakeSome(1)]).await;
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1 << 20).unwrap();
    append(&spool, numbered(2));
    let drain = ingestor.drain(&spool, directory.path(), 100);
    drain_all(&drain).await;
    assert_eq!(drain.counts.kept.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(ingestor.messages().len(), 2);
}

#[tokio::test]
async fn a_line_that_spoils_its_batch_is_found_and_the_others_pass() {
    let ingestor = Ingestor::start([]).await;
    ingestor.state.lock().unwrap().poison = Some("\"hostname\":\"h\",\"message\":\"event 13\"");
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1 << 20).unwrap();
    append(&spool, numbered(20));
    drain_all(&ingestor.drain(&spool, directory.path(), 100)).await;
    let messages = ingestor.messages();
    assert_eq!(messages.len(), 20);
    let plain: Vec<_> = messages.iter().filter(|message| message.starts_with('{')).collect();
    assert_eq!(plain.len(), 1, "the line itself became the message of a plain event: {messages:?}");
    assert!(plain[0].contains("event 13"));
}

#[tokio::test]
async fn a_line_that_is_refused_in_any_form_is_kept_in_a_file() {
    let ingestor = Ingestor::start([]).await;
    ingestor.state.lock().unwrap().poison = Some("event 3");
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1 << 20).unwrap();
    append(&spool, numbered(5));
    drain_all(&ingestor.drain(&spool, directory.path(), 100)).await;
    assert_eq!(ingestor.messages().len(), 4);
    let kept = std::fs::read_to_string(directory.path().join("refused.lines")).unwrap();
    assert!(kept.contains("event 3") && kept.ends_with('\n'), "{kept}");
}

#[tokio::test]
async fn a_relay_killed_after_the_ingestor_took_a_batch_sends_it_again_under_the_same_key() {
    let ingestor = Ingestor::start([]).await;
    let directory = tempfile::tempdir().unwrap();
    let first = Spool::open(directory.path(), 1 << 20).unwrap();
    let mut sent = append(&first, numbered(30));
    let segment = first.front().unwrap();
    // As `send_batch` leaves it when the process dies between the answer and the note of it.
    let begun = Range { start: 0, end: segment.written() };
    segment.note_batch(begun).unwrap();
    let key = format!("{}-{}-{}", segment.id, begun.start, begun.end);
    ingestor.state.lock().unwrap().keys.insert(key.clone(), 30);
    sent.extend(append(&first, ["later".to_owned()]));
    drop((first, segment));

    let second = Spool::open(directory.path(), 1 << 20).unwrap();
    drain_all(&ingestor.drain(&second, directory.path(), 1000)).await;
    assert!(ingestor.requests().contains(&key), "{:?}", ingestor.requests());
    assert_eq!(ingestor.messages(), ["later"], "what the first relay had delivered is not delivered twice");
}

#[tokio::test]
async fn what_a_dead_relay_left_is_taken_over_while_the_next_one_runs() {
    let ingestor = Ingestor::start([]).await;
    let directory = tempfile::tempdir().unwrap();
    let dead = Spool::open(directory.path(), 1 << 20).unwrap();
    let left = append(&dead, ["left".to_owned()]);
    let running = Spool::open(directory.path(), 1 << 20).unwrap();
    let drain = ingestor.drain(&running, directory.path(), 100);
    let task = tokio::spawn(async move { drain.run().await });
    drop(dead);
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while ingestor.messages() != left {
        assert!(std::time::Instant::now() < deadline, "not taken over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.close();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_line_larger_than_a_batch_goes_alone() {
    let ingestor = Ingestor::start([]).await;
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1 << 20).unwrap();
    let sent = append(&spool, ["a".to_owned(), "x".repeat(100_000), "b".to_owned()]);
    drain_all(&ingestor.drain(&spool, directory.path(), 100)).await;
    assert_eq!(ingestor.messages(), sent);
}
