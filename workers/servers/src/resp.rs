//! Just enough of the Redis protocol (RESP2) to ask a private server a question.

use std::{
    future::Future,
    io::{self, ErrorKind},
    pin::Pin,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A reply of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// An integer.
    Integer(i64),
    /// A status or a bulk string (invalid UTF-8 replaced).
    Text(String),
    /// An error reply, as `OOM command not allowed …`.
    Error(String),
    /// An array.
    Array(Vec<Reply>),
}

impl Reply {
    /// The integer, or the integer that a text holds; 0 for anything else.
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(value) => *value,
            Self::Text(text) => text.parse().unwrap_or(0),
            _ => 0,
        }
    }

    /// The text; empty for anything else.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Error(text) => text,
            _ => "",
        }
    }

    /// The texts of an array; empty for anything else.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Array(items) => items.iter().map(|item| item.text().to_owned()).collect(),
            _ => Vec::new(),
        }
    }
}

/// A connection on which one command follows the other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) async fn open(port: u16, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream) };
        if let Some(password) = password
            && let Reply::Error(error) = connection.command(&["AUTH", password]).await?
        {
            return Err(io::Error::new(ErrorKind::PermissionDenied, error));
        }
        Ok(connection)
    }

    pub(crate) async fn command(&mut self, words: &[&str]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.stream.get_mut().write_all(&request).await?;
        read_reply(&mut self.stream).await
    }
}

fn read_reply(stream: &mut BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = io::Result<Reply>> + Send + '_>> {
    Box::pin(async move {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let bad = || io::Error::new(ErrorKind::InvalidData, format!("not RESP: {line}"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
        let number = || rest.parse::<i64>().map_err(|_| bad());
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(number()?),
            "$" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut value = vec![0; length + 2];
                    stream.read_exact(&mut value).await?;
                    value.truncate(length);
                    Reply::Text(String::from_utf8_lossy(&value).into_owned())
                }
                Err(_) => Reply::Nil,
            },
            "*" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut items = Vec::with_capacity(length);
                    for _ in 0..length {
                        items.push(read_reply(stream).await?);
                    }
                    Reply::Array(items)
                }
                Err(_) => Reply::Nil,
            },
            _ => return Err(bad()),
        })
    })
}
