//! A subscription that survives the loss of its connection, and says so.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::connect::{self, RedisSettings};
use crate::connection::{Redis, backoff};

/// How often an idle subscription is asked whether it lives: a dead peer is else never noticed.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Notices that may wait for a slow reader; a publisher is slowed by the socket after that.
const NOTICES_MAX: usize = 256;

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The subscription stands, for the first time or again: whatever was published before may
    /// have been missed, so compare the state now.
    Resubscribed,
    /// A message.
    Message {
        /// The channel it was published on.
        channel: String,
        /// Its bytes.
        payload: Vec<u8>,
    },
}

/// Notices of some channels; ends its connection when dropped. `next` may be cancelled freely.
pub struct Subscription {
    notices: mpsc::Receiver<Notice>,
    task: tokio::task::JoinHandle<()>,
}

impl Subscription {
    /// The next notice; pends through outages.
    pub async fn next(&mut self) -> Notice {
        match self.notices.recv().await {
            Some(notice) => notice,
            // Only when the runtime is shutting down: there is nothing more to say.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Redis {
    /// Subscribes to `channels` on a connection of its own.
    pub fn subscribe(&self, channels: impl IntoIterator<Item = impl Into<String>>) -> Subscription {
        let channels: Vec<String> = channels.into_iter().map(Into::into).collect();
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        let task = tokio::spawn(keep_subscribed(self.settings().clone(), channels, sender));
        Subscription { notices, task }
    }
}

async fn keep_subscribed(settings: RedisSettings, channels: Vec<String>, sender: mpsc::Sender<Notice>) {
    let mut failures = 0;
    loop {
        match subscribe_once(&settings, &channels, &sender).await {
            Outcome::NobodyListens => return,
            Outcome::Lost => failures = 0,
            Outcome::Failed => failures += 1,
        }
        tokio::time::sleep(backoff(failures)).await;
    }
}

enum Outcome {
    NobodyListens,
    Lost,
    Failed,
}

async fn subscribe_once(settings: &RedisSettings, channels: &[String], sender: &mpsc::Sender<Notice>) -> Outcome {
    let Ok(mut pubsub) = connect::open_pubsub(settings).await else { return Outcome::Failed };
    match tokio::time::timeout(settings.response_timeout, pubsub.subscribe(channels)).await {
        Ok(Ok(())) => {}
        _ => return Outcome::Failed,
    }
    if sender.send(Notice::Resubscribed).await.is_err() {
        return Outcome::NobodyListens;
    }
    let (mut sink, mut stream) = pubsub.split();
    loop {
        let message = match tokio::time::timeout(PING_EVERY, stream.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return Outcome::Lost,
            Err(_) => match tokio::time::timeout(settings.response_timeout, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => continue,
                _ => return Outcome::Lost,
            },
        };
        let notice = Notice::Message {
            channel: message.get_channel_name().to_owned(),
            payload: message.get_payload_bytes().to_vec(),
        };
        if sender.send(notice).await.is_err() {
            return Outcome::NobodyListens;
        }
    }
}
