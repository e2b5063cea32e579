//! A plain HTTP/1.1 client that sends exactly what a test says.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a refusal, with its message; checks what every refusal has.
    pub(super) fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        assert_eq!(json["status"], "error", "{json}");
        assert!(json["correlation_id"].is_string(), "{json}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-api-version"), Some("v2.5"));
        assert_eq!(self.header("x-api-supported-versions"), Some("v2.5, v2.0, v1.0"));
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("message"))
    }
}

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Sends a request with Content-Length and reads the answer.
    pub(super) async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n").into_bytes();
        for (name, value) in headers {
            // Bytes beyond ASCII go out one by one, as Latin-1.
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend(value.chars().map(|character| character as u8));
            head.extend_from_slice(b"\r\n");
        }
        if method == "POST" {
            head.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(body);
        self.send(&head).await;
        self.answer(method).await
    }

    /// Sends raw bytes; a server that has answered already may have closed.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads one answer with a Content-Length.
    pub(super) async fn answer(&mut self, method: &str) -> Answer {
        timeout(PATIENCE, self.read_answer(method)).await.expect("an answer in time")
    }

    async fn read_answer(&mut self, method: &str) -> Answer {
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more().await, "closed before an answer: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..head_end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, text: String::new() };
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        if method != "HEAD" {
            while self.buffer.len() < length {
                assert!(self.read_more().await, "closed within an answer");
            }
            answer.text = String::from_utf8(self.buffer.drain(..length).collect()).unwrap();
        }
        answer
    }

    async fn read_more(&mut self) -> bool {
        let mut chunk = vec![0; 16 * 1024];
        let read = self.stream.read(&mut chunk).await.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }

    /// Reads `100 Continue`.
    pub(super) async fn continued(&mut self) {
        let line = b"HTTP/1.1 100 Continue\r\n\r\n";
        while self.buffer.len() < line.len() {
            assert!(self.read_more().await, "closed instead of 100 Continue");
        }
        assert_eq!(self.buffer.drain(..line.len()).collect::<Vec<_>>(), line);
    }

    /// Waits until the server closes.
    pub(super) async fn closed(&mut self) {
        timeout(PATIENCE, async { while self.read_more().await {} }).await.expect("closed in time");
    }
}
