//! Dead letters: looked through, put back or thrown away, each by one script.
//!
//! A walk goes from the oldest letter (the tail) to the newest that was there when it began, so that what
//! fails again during a replay is not replayed again by it. It may be stopped at any moment and begun
//! anew: what was moved is no longer there.

use std::sync::Arc;

use redis::cmd;
use serde::Serialize;

use crate::envelope::{Envelope, Kind, REPLAYS_MAX};
use crate::{EventId, Keys, Redis, RedisError, Script};

static MOVE: Script = Script::new(include_str!("lua/dlq_move.lua"));

/// Letters read in one go: with the largest events still some tens of MiB.
const READ_MAX: u64 = 50;

/// The dead-letter queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dlq {
    /// Refused items of batches.
    Ingest,
    /// Events that the alerter cannot process.
    Alerter,
    /// Alerts that could not be delivered.
    Moog,
    /// Replayed three times in vain.
    Dead,
}

impl Dlq {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Alerter, Self::Moog, Self::Dead];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Alerter => "alerter",
            Self::Moog => "moog",
            Self::Dead => "dead",
        }
    }

    /// Its key.
    pub fn key(self, keys: &Keys) -> &str {
        match self {
            Self::Ingest => &keys.dlq_ingest,
            Self::Alerter => &keys.dlq_alerter,
            Self::Moog => &keys.dlq_moog,
            Self::Dead => &keys.dlq_dead,
        }
    }
}

/// Which letters are meant; an empty filter means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Somewhere in the letter, case ignored.
    pub text: Option<String>,
    /// The reason's word.
    pub reason: Option<String>,
    /// The event's or alert's host name.
    pub host: Option<String>,
    /// `_event_id` or `_correlation_id`.
    pub id: Option<String>,
}

impl Filter {
    /// Whether a letter is meant.
    pub fn takes(&self, raw: &[u8]) -> bool {
        if let Some(text) = &self.text {
            let letter = String::from_utf8_lossy(raw).to_lowercase();
            if !letter.contains(&text.to_lowercase()) {
                return false;
            }
        }
        if self.reason.is_none() && self.host.is_none() && self.id.is_none() {
            return true;
        }
        let Some(letter) = Letter::read(0, raw) else { return false };
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        same(&self.reason, &letter.reason)
            && same(&self.host, &letter.host)
            && self.id.as_ref().is_none_or(|id| *id == letter.event_id || *id == letter.correlation_id)
    }
}

/// A dead letter for people.
#[derive(Debug, Clone, Serialize)]
pub struct Letter {
    /// Position in the DLQ, 0 = newest.
    pub position: u64,
    /// Event or alert.
    pub kind: Kind,
    /// Why it is here.
    pub reason: String,
    /// The same for people.
    pub detail: String,
    /// Tries before it came here.
    pub attempts: u64,
    /// How often it was replayed.
    pub replays: u64,
    /// When it came here, RFC 3339.
    pub dead_lettered_at: String,
    /// Its host, empty if it says none.
    pub host: String,
    /// `_event_id`, empty if it has none.
    pub event_id: String,
    /// `_correlation_id`, empty if it has none.
    pub correlation_id: String,
    /// The letter as it lies in Redis.
    #[serde(skip)]
    pub raw: Vec<u8>,
}

impl Letter {
    fn read(position: u64, raw: &[u8]) -> Option<Self> {
        let envelope = Envelope::parse(raw)?;
        let object = envelope.object();
        let text = |key| object.as_ref().and_then(|object| object.text(key)).unwrap_or_default();
        let event = object.as_ref().and_then(|object| crate::envelope::Object::parse(object.get("raw_json")?));
        let inner = |key| event.as_ref().and_then(|event| event.text(key)).unwrap_or_default();
        let or = |outer: String, inner: String| if outer.is_empty() { inner } else { outer };
        Some(Self {
            position,
            kind: envelope.kind(),
            reason: envelope.reason.to_string(),
            detail: envelope.detail.to_string(),
            attempts: envelope.attempts,
            replays: object.as_ref().map_or(0, crate::envelope::Object::replays),
            dead_lettered_at: envelope.dead_lettered_at.to_string(),
            host: text("hostname"),
            event_id: or(text("_event_id"), inner("_event_id")),
            correlation_id: or(text("_correlation_id"), inner("_correlation_id")),
            raw: raw.to_vec(),
        })
    }

    /// A letter that somebody else pushed, in a form that is none of ours.
    fn foreign(position: u64, raw: Vec<u8>) -> Self {
        Self {
            position,
            kind: Kind::Event,
            reason: "foreign".to_owned(),
            detail: "not an envelope".to_owned(),
            attempts: 0,
            replays: 0,
            dead_lettered_at: String::new(),
            host: String::new(),
            event_id: String::new(),
            correlation_id: String::new(),
            raw,
        }
    }
}

/// What is done with the letters of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Only counted.
    Look,
    /// Back to the queue it came from; used up or hopeless ones to `dlq:dead`.
    Replay,
    /// Thrown away.
    Purge,
}

/// What a step of a walk did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Letters looked at.
    pub seen: u64,
    /// Those the filter takes.
    pub matched: u64,
    /// Put back.
    pub replayed: u64,
    /// Moved to `dlq:dead`.
    pub dead: u64,
    /// Thrown away.
    pub purged: u64,
    /// Left, since they can never be processed (no JSON object, in `dlq:dead`).
    pub hopeless: u64,
}

impl Counts {
    /// Adds another step's.
    pub fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.matched += other.matched;
        self.replayed += other.replayed;
        self.dead += other.dead;
        self.purged += other.purged;
        self.hopeless += other.hopeless;
    }
}

/// One way through a DLQ from the oldest letter on.
#[derive(Debug)]
pub struct Walk {
    dlq: Dlq,
    filter: Filter,
    treatment: Treatment,
    left: u64,
    kept: u64,
    matches_left: u64,
}

impl Walk {
    /// Letters not looked at yet.
    pub fn left(&self) -> u64 {
        self.left
    }
}

/// All DLQs of one pipeline.
#[derive(Clone)]
pub struct Dlqs {
    redis: Redis,
    keys: Arc<Keys>,
}

impl Dlqs {
    /// On one Redis.
    pub fn new(redis: Redis, keys: Arc<Keys>) -> Self {
        Self { redis, keys }
    }

    /// Number of letters.
    pub async fn depth(&self, dlq: Dlq) -> Result<u64, RedisError> {
        self.redis.query(cmd("LLEN").arg(dlq.key(&self.keys))).await
    }

    /// Letters that the filter takes, newest first: `skip` of them left out, at most `limit` given.
    pub async fn list(&self, dlq: Dlq, filter: &Filter, skip: u64, limit: u64) -> Result<Vec<Letter>, RedisError> {
        let (mut letters, mut position, mut skipped) = (Vec::new(), 0u64, 0u64);
        while (letters.len() as u64) < limit {
            let range: Vec<Vec<u8>> = self.range(dlq, position as i64, (position + READ_MAX - 1) as i64).await?;
            let read = range.len() as u64;
            for (raw, at) in range.into_iter().zip(position..) {
                if !filter.takes(&raw) {
                    continue;
                }
                if skipped < skip {
                    skipped += 1;
                } else if (letters.len() as u64) < limit {
                    letters.push(Letter::read(at, &raw).unwrap_or_else(|| Letter::foreign(at, raw)));
                }
            }
            if read < READ_MAX {
                break;
            }
            position += read;
        }
        Ok(letters)
    }

    /// Begins a walk over what is there now; it ends after `matches_max` letters that the filter takes.
    pub async fn walk(
        &self,
        dlq: Dlq,
        filter: Filter,
        treatment: Treatment,
        matches_max: Option<u64>,
    ) -> Result<Walk, RedisError> {
        let left = self.depth(dlq).await?;
        Ok(Walk { dlq, filter, treatment, left, kept: 0, matches_left: matches_max.unwrap_or(u64::MAX) })
    }

    /// Does the next letters, at most `step`; `None` at the end. `now` (RFC 3339) is the reception time of
    /// events that say none.
    pub async fn step(&self, walk: &mut Walk, step: u64, now: &str) -> Result<Option<Counts>, RedisError> {
        let count = step.min(READ_MAX).min(walk.left);
        if count == 0 || walk.matches_left == 0 {
            return Ok(None);
        }
        let mut range = self.range(walk.dlq, -((walk.kept + count) as i64), -((walk.kept + 1) as i64)).await?;
        range.reverse();
        if range.is_empty() {
            walk.left = 0;
            return Ok(None);
        }
        let mut counts = Counts::default();
        let mut moves = Vec::new();
        for raw in range {
            if walk.matches_left == 0 {
                break;
            }
            counts.seen += 1;
            if !walk.filter.takes(&raw) {
                walk.kept += 1;
                continue;
            }
            counts.matched += 1;
            walk.matches_left -= 1;
            if let Some((place, text)) = decide(walk.dlq, walk.treatment, &raw, now) {
                moves.push((raw, place, text));
            } else {
                counts.hopeless += u64::from(walk.treatment != Treatment::Look);
                walk.kept += 1;
            }
        }
        walk.left -= counts.seen;
        self.carry_out(walk.dlq, &moves, &mut counts).await?;
        Ok(Some(counts))
    }

    async fn carry_out(&self, dlq: Dlq, moves: &[Move], counts: &mut Counts) -> Result<(), RedisError> {
        if moves.is_empty() {
            return Ok(());
        }
        let keys = &*self.keys;
        let mut call = MOVE.call(&[dlq.key(keys), &keys.ingest_queue, &keys.alert_queue, &keys.dlq_dead, &keys.totals]);
        for (raw, place, text) in moves {
            call.arg(raw.as_slice()).arg(place.word()).arg(text.as_slice());
        }
        let outcome: Vec<u64> = self.redis.run_as(&call).await?;
        for ((_, place, _), done) in moves.iter().zip(outcome) {
            match place {
                Place::Ingest | Place::Alert => counts.replayed += done,
                Place::Dead => counts.dead += done,
                Place::Nowhere(_) => counts.purged += done,
            }
        }
        Ok(())
    }

    async fn range(&self, dlq: Dlq, first: i64, last: i64) -> Result<Vec<Vec<u8>>, RedisError> {
        self.redis.query(cmd("LRANGE").arg(dlq.key(&self.keys)).arg(first).arg(last)).await
    }
}

/// A letter's text, where it goes, and the text pushed there.
type Move = (Vec<u8>, Place, Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ingest,
    Alert,
    Dead,
    Nowhere(Kind),
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Alert => "alert",
            Self::Dead => "dead",
            Self::Nowhere(Kind::Event) => "purge_event",
            Self::Nowhere(Kind::Alert) => "purge_alert",
        }
    }
}

/// Where a letter goes, `None` = it stays.
fn decide(dlq: Dlq, treatment: Treatment, raw: &[u8], now: &str) -> Option<(Place, Vec<u8>)> {
    let envelope = Envelope::parse(raw);
    let kind = match (&envelope, dlq) {
        (Some(envelope), _) => envelope.kind(),
        (None, Dlq::Moog) => Kind::Alert,
        (None, _) => Kind::Event,
    };
    match treatment {
        Treatment::Look => return None,
        Treatment::Purge => return Some((Place::Nowhere(kind), Vec::new())),
        Treatment::Replay => {}
    }
    let Some(mut object) = envelope.as_ref().and_then(Envelope::object) else {
        // What is no object can carry no count and will never be good: it is dead at once.
        return (dlq != Dlq::Dead).then(|| (Place::Dead, raw.to_vec()));
    };
    let replays = if dlq == Dlq::Dead { 0 } else { object.replays() };
    if replays >= REPLAYS_MAX {
        return Some((Place::Dead, raw.to_vec()));
    }
    let place = match kind {
        Kind::Event => Place::Ingest,
        Kind::Alert => Place::Alert,
    };
    if kind == Kind::Event {
        let id = object.text("_event_id").unwrap_or_else(|| EventId::new().to_string());
        for (key, value) in [("_event_id", id.as_str()), ("_correlation_id", id.as_str()), ("_received_at", now)] {
            if object.get(key).is_none() {
                object.set(key, format!("\"{value}\""));
            }
        }
    }
    object.mark_replayed(replays + 1);
    Some((place, object.to_text().into_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::envelope::build;

    const NOW: &str = "2026-01-02T03:04:05.000000Z";

    fn replayed(dlq: Dlq, kind: Kind, body: &str) -> Option<(Place, String)> {
        let raw = build(kind, body.as_bytes(), "validation", "", 0, NOW);
        let (place, text) = decide(dlq, Treatment::Replay, &raw, NOW)?;
        Some((place, String::from_utf8(text).unwrap()))
    }

    #[test]
    fn events_get_only_the_keys_they_lack() {
        let (place, text) =
            replayed(Dlq::Alerter, Kind::Event, r#"{"a":1,"_event_id":"e","_correlation_id":"c","_received_at":"t"}"#)
                .unwrap();
        assert_eq!(
            (place, text.as_str()),
            (Place::Ingest, r#"{"a":1,"_event_id":"e","_correlation_id":"c","_received_at":"t","_replays":1}"#)
        );
        let (_, text) = replayed(Dlq::Ingest, Kind::Event, r#"{"a":1}"#).unwrap();
        let object = crate::envelope::Object::parse(&text).unwrap();
        assert_eq!(object.text("_event_id").unwrap().len(), 36);
        assert_eq!(object.text("_event_id"), object.text("_correlation_id"));
        assert_eq!(object.text("_received_at").as_deref(), Some(NOW));
    }

    #[test]
    fn three_replays_in_vain_end_in_dead_and_from_there_begin_anew() {
        let mut text = r#"{"hostname":"h","_attempts":6}"#.to_owned();
        for count in 1..=3 {
            let (place, next) = replayed(Dlq::Moog, Kind::Alert, &text).unwrap();
            assert_eq!(
                (place, next.as_str()),
                (Place::Alert, format!(r#"{{"hostname":"h","_replays":{count}}}"#).as_str())
            );
            text = next;
        }
        assert_eq!(replayed(Dlq::Moog, Kind::Alert, &text).unwrap().0, Place::Dead);
        let (place, again) = replayed(Dlq::Dead, Kind::Alert, &text).unwrap();
        assert_eq!((place, again.as_str()), (Place::Alert, r#"{"hostname":"h","_replays":1}"#));
    }

    #[test]
    fn what_is_no_object_is_dead_at_once_and_stays_there() {
        assert_eq!(replayed(Dlq::Ingest, Kind::Event, "garbage").unwrap().0, Place::Dead);
        assert_eq!(replayed(Dlq::Dead, Kind::Event, "garbage"), None);
        assert_eq!(decide(Dlq::Alerter, Treatment::Replay, b"foreign", NOW), Some((Place::Dead, b"foreign".to_vec())));
        assert_eq!(decide(Dlq::Moog, Treatment::Purge, b"foreign", NOW).unwrap().0, Place::Nowhere(Kind::Alert));
    }

    #[test]
    fn filters_by_text_reason_host_and_id() {
        let raw = build(
            Kind::Alert,
            br#"{"hostname":"sw1","message_body":"Link DOWN","raw_json":{"_event_id":"e1"}}"#,
            "http",
            "500",
            6,
            NOW,
        );
        let is = |filter: Filter| filter.takes(&raw);
        assert!(is(Filter::default()));
        for (wanted, other) in [
            (
                Filter { text: Some("link down".into()), ..Filter::default() },
                Filter { text: Some("link up".into()), ..Filter::default() },
            ),
            (
                Filter { reason: Some("http".into()), ..Filter::default() },
                Filter { reason: Some("json".into()), ..Filter::default() },
            ),
            (
                Filter { host: Some("sw1".into()), ..Filter::default() },
                Filter { host: Some("sw".into()), ..Filter::default() },
            ),
            (
                Filter { id: Some("e1".into()), ..Filter::default() },
                Filter { id: Some("e2".into()), ..Filter::default() },
            ),
        ] {
            assert!(is(wanted.clone()), "{wanted:?}");
            assert!(!is(other.clone()), "{other:?}");
        }
    }
}
