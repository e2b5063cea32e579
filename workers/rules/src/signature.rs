//! The signature by which unhandled messages are grouped.

use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

use crate::rule_set::hex;

/// How messages are grouped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignatureMode {
    /// Numbers, addresses (IPv4, IPv6, MAC) and hex words are masked first.
    #[default]
    Masked,
    /// The whole message counts.
    Exact,
}

/// Messages are masked up to this length; what differs behind it does not count.
const MASKED_BYTES_MAX: usize = 16 << 10;
/// Stands for a number or a hex word.
const NUMBER: u8 = b'#';
/// Stands for an address.
const ADDRESS: u8 = b'@';
/// The longest text of an IPv6 address (with an IPv4 address at its end).
const IPV6_BYTES_MAX: usize = 45;

/// The signature of a message: 128 bits of SHA-256 over the text, masked or exact.
pub fn signature(message: &str, mode: SignatureMode) -> [u8; 16] {
    let digest = match mode {
        SignatureMode::Exact => Sha256::digest(message.as_bytes()),
        SignatureMode::Masked => Sha256::digest(masked_bytes(message)),
    };
    let mut signature = [0; 16];
    signature.copy_from_slice(&digest[..16]);
    signature
}

/// [`signature`] as 32 hex digits, the form in Redis keys.
pub fn signature_hex(message: &str, mode: SignatureMode) -> String {
    hex(&signature(message, mode))
}

/// The text over which a masked signature is made: `#` for each number (`7`, `1.5`, an OID; also inside of a word) and each hex word
/// (`0x…`, a UUID, or at least six hex digits with a decimal digit among them), `@` for each IPv4, IPv6 or MAC address.
pub fn masked(message: &str) -> String {
    String::from_utf8_lossy(&masked_bytes(message)).into_owned()
}

fn masked_bytes(message: &str) -> Vec<u8> {
    let text = &message.as_bytes()[..message.floor_char_boundary(MASKED_BYTES_MAX)];
    let mut masked = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let Some((mask, length)) = mask_at(text, at) {
            masked.push(mask);
            at += length;
        } else {
            let plain = 1 + plain_after(text, at);
            masked.extend_from_slice(&text[at..at + plain]);
            at += plain;
        }
    }
    masked
}

/// How many bytes behind a position certainly begin no masked text.
fn plain_after(text: &[u8], at: usize) -> usize {
    let may_begin = |pair: &[u8]| match pair[1] {
        b'0'..=b'9' | b':' => true,
        b'a'..=b'f' | b'A'..=b'F' => !pair[0].is_ascii_alphanumeric(),
        _ => false,
    };
    text[at..].windows(2).position(may_begin).unwrap_or(text.len() - at - 1)
}

/// What stands for the text at a position, if it is masked, and how many bytes it stands for.
fn mask_at(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let (byte, rest) = (text[at], &text[at..]);
    let begins_word = at == 0 || !text[at - 1].is_ascii_alphanumeric();
    if begins_word && (byte.is_ascii_hexdigit() || rest.starts_with(b"::")) {
        if let Some(length) = mac(rest).or_else(|| ipv6(rest)) {
            return Some((ADDRESS, length));
        }
        if let Some(length) = uuid(rest).or_else(|| hex_word(rest)) {
            return Some((NUMBER, length));
        }
    }
    if !byte.is_ascii_digit() {
        return None;
    }
    let (length, is_ipv4) = number(rest);
    Some((if is_ipv4 && begins_word { ADDRESS } else { NUMBER }, length))
}

/// Length of a number with dots between its parts, and whether it is an IPv4 address.
fn number(text: &[u8]) -> (usize, bool) {
    let mut length = 0;
    let (mut parts, mut all_octets) = (0, true);
    loop {
        let digits = run(&text[length..], u8::is_ascii_digit);
        let value =
            text[length..length + digits.min(4)].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        all_octets &= digits <= 3 && value <= 255;
        parts += 1;
        length += digits;
        let more = text.get(length) == Some(&b'.') && text.get(length + 1).is_some_and(u8::is_ascii_digit);
        if !more {
            break;
        }
        length += 1;
    }
    (length, parts == 4 && all_octets && ends_word(text, length))
}

/// Length of `00:1a:2b:3c:4d:5e`, `00-1a-…` or `001a.2b3c.4d5e`.
fn mac(text: &[u8]) -> Option<usize> {
    let (group, groups, separator) = match (text.get(2), text.get(4)) {
        (Some(separator @ (b':' | b'-')), _) => (2, 6, *separator),
        (_, Some(b'.')) => (4, 3, b'.'),
        _ => return None,
    };
    let length = group * groups + groups - 1;
    let address = text.get(..length)?;
    let fits = address
        .iter()
        .enumerate()
        .all(|(at, byte)| if at % (group + 1) == group { *byte == separator } else { byte.is_ascii_hexdigit() });
    let goes_on = text.get(length) == Some(&separator) && text.get(length + 1).is_some_and(u8::is_ascii_hexdigit);
    (fits && !goes_on && ends_word(text, length)).then_some(length)
}

/// Length of an IPv6 address, without the zone or the prefix length behind it.
fn ipv6(text: &[u8]) -> Option<usize> {
    let first_group = run(&text[..text.len().min(5)], u8::is_ascii_hexdigit);
    if text.get(first_group) != Some(&b':') {
        return None;
    }
    let text = &text[..text.len().min(IPV6_BYTES_MAX + 2)];
    let length = run(text, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    let colons = memchr::memchr_iter(b':', &text[..length]).count();
    let is_short = text[..length].windows(2).any(|pair| pair == b"::");
    if colons < 2 || !(is_short || colons >= 6) {
        return None;
    }
    // A colon or full stop behind the address belongs to the sentence.
    [length, length - 1].into_iter().find(|length| {
        let address = std::str::from_utf8(&text[..*length]).unwrap_or_default();
        ends_word(text, *length) && address.len() > 2 && address.parse::<Ipv6Addr>().is_ok()
    })
}

/// Length of a UUID.
fn uuid(text: &[u8]) -> Option<usize> {
    let uuid = text.get(..36).filter(|uuid| uuid[8] == b'-')?;
    let fits = uuid.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (fits && ends_word(text, 36)).then_some(36)
}

/// Length of `0x…`, or of a word of at least six hex digits of which one, but not all, are decimal.
fn hex_word(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"0x") || text.starts_with(b"0X") {
        let digits = run(&text[2..], u8::is_ascii_hexdigit);
        return (digits > 0 && ends_word(text, digits + 2)).then_some(digits + 2);
    }
    let length = run(text, u8::is_ascii_hexdigit);
    let decimal = text[..length].iter().filter(|byte| byte.is_ascii_digit()).count();
    (length >= 6 && decimal > 0 && decimal < length && ends_word(text, length)).then_some(length)
}

fn run(text: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    text.iter().position(|byte| !belongs(byte)).unwrap_or(text.len())
}

fn ends_word(text: &[u8], length: usize) -> bool {
    !text.get(length).is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_message_to_message_is_masked() {
        let table = [
            ("neighbor 10.0.0.1 Down", "neighbor @ Down"),
            ("from 10.0.0.1:8080, 10.0.0.0/24.", "from @:#, @/#."),
            ("v 1.2.3 and 1.2.3.4.5 and 300.1.1.1", "v # and # and #"),
            ("took 1.5s, then 12 s", "took #s, then # s"),
            ("GigabitEthernet1/0/24 eth0", "GigabitEthernet#/#/# eth#"),
            ("%BGP-5-ADJCHANGE: x", "%BGP-#-ADJCHANGE: x"),
            ("at 12:34:56.789", "at #:#:#"),
            ("peer fe80::1%eth0 up", "peer @%eth# up"),
            ("peer fe80::1: up", "peer @: up"),
            ("2001:db8:0:0:0:0:2:1, ::1 and ::ffff:10.0.0.1.", "@, @ and @."),
            ("net 2001:db8::/32", "net @/#"),
            ("mac 00:1A:2b:3c:4d:5e 00-1a-2b-3c-4d-5e 001a.2b3c.4d5e", "mac @ @ @"),
            ("eight groups aa:bb:cc:dd:ee:ff:00:11", "eight groups @"),
            ("ptr 0xDEADBEEF 0x1 0xg", "ptr # # #xg"),
            ("id 4f3a2b1c, 550e8400-e29b-41d4-a716-446655440000", "id #, #"),
            ("deadbeef facade decade 1abcde 12345f", "deadbeef facade decade # #"),
            ("std::bad alloc", "std::bad alloc"),
            ("x123456y", "x#y"),
            ("temperatur 25°C in Köln2", "temperatur #°C in Köln#"),
            ("::", "::"),
            ("", ""),
        ];
        for (message, expected) in table {
            assert_eq!(masked(message), expected, "{message}");
        }
    }

    #[test]
    fn signatures_group_by_the_masked_text() {
        let same = |a, b, mode| signature(a, mode) == signature(b, mode);
        assert!(same("port 1 down", "port 22 down", SignatureMode::Masked));
        assert!(!same("port 1 down", "port 22 down", SignatureMode::Exact));
        assert!(!same("port 1 down", "port 1 up", SignatureMode::Masked));
        assert_eq!(signature_hex("", SignatureMode::Exact), "e3b0c44298fc1c149afbf4c8996fb924");
    }

    #[test]
    fn huge_and_odd_messages_are_no_trouble() {
        let huge = "ä1".repeat(500_000);
        assert!(masked(&huge).len() <= MASKED_BYTES_MAX);
        for unit in ["1.", ":", "::", "a:", "0x", "1-", "ffff.", "\u{1f600}"] {
            signature(&unit.repeat(20_000), SignatureMode::Masked);
        }
    }
}
