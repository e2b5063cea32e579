//! Ids of a request and of the events in it, all derived from one UUIDv7.

use uuid::Uuid;

use super::moment::Moment;

/// Longest X-Correlation-ID taken over.
const CORRELATION_MAX: usize = 128;
/// The bits of a UUIDv7 below its variant; events count upwards in them.
const RANDOM_BITS: u128 = (1 << 62) - 1;

/// The text form of a UUID.
pub(crate) type IdText = [u8; 36];

/// A request's own id; its events' ids follow from it and their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(Uuid);

impl RequestId {
    /// A new one: 48 bits of time and 74 random bits. The generator is seeded from the system once per thread, which saves
    /// a system call per request.
    pub(crate) fn new(now: Moment) -> Self {
        let random = (u128::from(fastrand::u64(..)) << 64) | u128::from(fastrand::u64(..));
        let [bytes @ .., _, _, _, _, _, _] = random.to_be_bytes();
        Self(uuid::Builder::from_unix_timestamp_millis(now.millis(), &bytes).into_uuid())
    }

    pub(crate) fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    pub(crate) fn uuid(self) -> Uuid {
        self.0
    }

    /// The id of a single event: the request's own, so that a made correlation id is the event id.
    pub(crate) fn text(self) -> IdText {
        encode(self.0)
    }

    /// The id of item `index` of a batch; it differs from the request's id.
    pub(crate) fn item(self, index: usize) -> IdText {
        let id = self.0.as_u128();
        let low = (id & RANDOM_BITS).wrapping_add(index as u128 + 1) & RANDOM_BITS;
        encode(Uuid::from_u128((id & !RANDOM_BITS) | low))
    }
}

fn encode(id: Uuid) -> IdText {
    let mut text = [0; 36];
    id.as_hyphenated().encode_lower(&mut text);
    text
}

/// An id's text as `str`.
pub(crate) fn as_str(id: &IdText) -> &str {
    std::str::from_utf8(id).unwrap_or_default()
}

/// Whether a sender's X-Correlation-ID is taken over: 1 to 128 of `[A-Za-z0-9._-]`.
pub(crate) fn is_correlation_id(text: &[u8]) -> bool {
    (1..=CORRELATION_MAX).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_uuid_v7_and_differ() {
        let now = Moment::now();
        let request = RequestId::new(now);
        let mut seen = HashSet::from([request.text()]);
        for index in 0..1_000 {
            let id = request.item(index);
            let parsed = Uuid::parse_str(as_str(&id)).unwrap();
            assert_eq!(parsed.get_version_num(), 7);
            assert_eq!(parsed.get_variant(), uuid::Variant::RFC4122);
            assert!(seen.insert(id));
        }
        assert_ne!(RequestId::new(now), request);
    }

    #[test]
    fn items_wrap_within_the_random_bits() {
        let last = Uuid::from_u128((0x0199_0000_0000_7000_8000_0000_0000_0000_u128) | RANDOM_BITS);
        let id = RequestId::from_uuid(last).item(0);
        assert_eq!(as_str(&id), "01990000-0000-7000-8000-000000000000");
    }

    #[test]
    fn correlation_ids() {
        assert!(is_correlation_id(b"a") && is_correlation_id(b"A-z_0.9") && is_correlation_id(&[b'x'; 128]));
        for bad in ["", "a b", "a\"", "ä", "a/b"] {
            assert!(!is_correlation_id(bad.as_bytes()), "{bad}");
        }
        assert!(!is_correlation_id(&[b'x'; 129]));
    }
}
