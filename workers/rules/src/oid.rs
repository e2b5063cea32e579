//! SNMP object identifiers in dotted form, compared by whole arcs.

/// Takes off what does not count: spaces around, one leading dot, a trailing `.*` or `.`.
pub(crate) fn normalize(oid: &str) -> &str {
    let oid = oid.trim();
    let oid = oid.strip_suffix('*').filter(|rest| rest.is_empty() || rest.ends_with('.')).unwrap_or(oid);
    let oid = oid.strip_suffix('.').unwrap_or(oid);
    oid.strip_prefix('.').unwrap_or(oid)
}

/// Whether the normalized `prefix` takes the normalized `oid`, arc by arc.
pub(crate) fn is_prefix(prefix: &str, oid: &str) -> bool {
    oid.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Why a normalized OID prefix is not one, if it is not.
pub(crate) fn problem(oid: &str) -> Option<&'static str> {
    if oid.is_empty() {
        Some("is empty")
    } else if oid.split('.').any(str::is_empty) {
        Some("has an empty arc (two dots in a row)")
    } else if !oid.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()) {
        Some("may hold digits and dots only; write names like iso or enterprises as numbers")
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_by_whole_arcs() {
        let table = [
            ("1.3.6.1.4.1.9.9.41.2", "1.3.6.1.4.1.9.9.41.2", true),
            ("1.3.6.1.4.1.9.9.41.2", "1.3.6.1.4.1.9.9.41.2.0.1", true),
            ("1.3.6.1.4.1.9.9.41.2", "1.3.6.1.4.1.9.9.41.20", false),
            ("1.3.6.1.4.1.9.9.41.2", "1.3.6.1.4.1.9.9.41", false),
            (".1.3.6.1", "1.3.6.1.4", true),
            ("1.3.6.1", ".1.3.6.1.4", true),
            ("1.3.6.1.*", "1.3.6.1.4", true),
            ("1.3.6.1.*", "1.3.6.1", true),
            ("1.3.6.1.", "1.3.6.1.4", true),
            (" 1.3.6.1 ", "1.3.6.1", true),
            ("1", "1.3", true),
            ("1", "11.3", false),
        ];
        for (prefix, oid, expected) in table {
            assert_eq!(is_prefix(normalize(prefix), normalize(oid)), expected, "{prefix} over {oid}");
        }
    }

    #[test]
    fn bad_oids_are_named() {
        for bad in ["", ".", "*", "1..3", "1.3.x", "iso.3.6", "..1", "1.3*", "1.3.*.4"] {
            assert!(problem(normalize(bad)).is_some(), "{bad}");
        }
        for good in ["1", ".1.3", "1.3.*", "1.3."] {
            assert_eq!(problem(normalize(good)), None, "{good}");
        }
    }
}
