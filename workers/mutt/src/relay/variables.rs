//! Variable bindings as net-snmp prints them, taken apart. Pure.

use serde::Serialize;

/// Between two variables (`%V` in snmptrapd.conf). Printable, so that no syslog escaping touches it.
const SEPARATOR: &str = "|~|";

/// One variable of a trap.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Variable {
    /// Without a leading dot.
    pub(crate) oid: String,
    /// net-snmp's word: `INTEGER`, `STRING`, `Hex-STRING`, `OID`, `Timeticks`, …; empty if there is none.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Strings without quotes, hex as `DE AD BE EF`, OIDs without a leading dot, timeticks as a number.
    pub(crate) value: String,
}

/// All variables of `text`; a part that cannot be read is kept as a value without a type.
pub(crate) fn variables(text: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = end_of_variable(rest);
        let one = rest[..end].trim();
        if !one.is_empty() {
            found.push(variable(one));
        }
        rest = rest[end..].strip_prefix(SEPARATOR).unwrap_or("");
    }
    found
}

/// Where the first variable of `text` ends: at a separator that is in no quoted string, else at the end.
fn end_of_variable(text: &str) -> usize {
    let first_separator = text.find(SEPARATOR).unwrap_or(text.len());
    let Some(quote) = text[..first_separator].find('"') else { return first_separator };
    end_of_quoted(text, quote + 1).unwrap_or(text.len())
}

/// The place after the quote that closes a string opened before `from`: unescaped, and nothing but a separator or the end follows.
fn end_of_quoted(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => {
                let after = text.get(at + 1..).unwrap_or("");
                if after.is_empty() || after.starts_with(SEPARATOR) {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn variable(text: &str) -> Variable {
    let Some((name, printed)) = text.split_once(" = ").or_else(|| text.split_once(" =")) else {
        return Variable { oid: text.trim_start_matches('.').to_owned(), kind: String::new(), value: String::new() };
    };
    let (kind, value) = typed(printed.trim());
    Variable { oid: name.trim().trim_start_matches('.').to_owned(), kind, value }
}

/// Splits `TYPE: value` and brings the value to its plain form.
fn typed(printed: &str) -> (String, String) {
    if let Some(quoted) = printed.strip_prefix('"') {
        return ("STRING".to_owned(), unquote(quoted));
    }
    let (kind, value) = match printed.split_once(':') {
        Some((kind, value)) if is_type(kind) => (kind, value.trim()),
        None if printed == "NULL" => ("NULL", ""),
        _ => ("", printed),
    };
    match kind {
        "STRING" => (kind.to_owned(), value.strip_prefix('"').map_or_else(|| value.to_owned(), unquote)),
        "Hex-STRING" => hex_string(value),
        "OID" => (kind.to_owned(), value.trim_start_matches('.').to_owned()),
        "Timeticks" => (kind.to_owned(), ticks(value).to_owned()),
        _ => (kind.to_owned(), value.to_owned()),
    }
}

fn is_type(word: &str) -> bool {
    !word.is_empty() && word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `(100) 0:00:01.00` → `100`.
fn ticks(value: &str) -> &str {
    value.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(value, |(ticks, _)| ticks)
}

/// A string behind its opening quote: escapes undone, closing quote (missing in a line cut off) taken away.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            '"' if characters.as_str().is_empty() => {}
            other => plain.push(other),
        }
    }
    plain
}

/// net-snmp prints every string that is not ASCII in hex; text in UTF-8 becomes readable again, other octets stay hex.
fn hex_string(value: &str) -> (String, String) {
    let words: Vec<&str> = value.split_whitespace().collect();
    let octets: Option<Vec<u8>> =
        words.iter().map(|word| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2)).collect();
    let text = octets.and_then(|octets| String::from_utf8(octets).ok()).filter(|text| is_text(text));
    match text {
        Some(text) => ("STRING".to_owned(), text),
        None => ("Hex-STRING".to_owned(), words.join(" ")),
    }
}

/// At least one character beyond ASCII (else net-snmp had a reason of its own to print hex) and no control character.
fn is_text(text: &str) -> bool {
    !text.is_ascii() && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn one(text: &str) -> (String, String, String) {
        let mut all = variables(text);
        assert_eq!(all.len(), 1, "{all:?}");
        let Variable { oid, kind, value } = all.remove(0);
        (oid, kind, value)
    }

    #[test]
    fn every_type_of_net_snmp_5_9_is_read() {
        for (text, kind, value) in [
            ("INTEGER: 3", "INTEGER", "3"),
            ("INTEGER: down(2)", "INTEGER", "down(2)"),
            ("IpAddress: 1.2.3.4", "IpAddress", "1.2.3.4"),
            ("OID: .1.3.6.1", "OID", "1.3.6.1"),
            ("Timeticks: (4711) 0:00:47.11", "Timeticks", "4711"),
            ("Counter64: 123456789012", "Counter64", "123456789012"),
            ("Gauge32: 77", "Gauge32", "77"),
            ("NULL", "NULL", ""),
            ("\"\"", "STRING", ""),
            ("STRING: \"ends with \\\\\"", "STRING", "ends with \\"),
            ("STRING: \"cut off", "STRING", "cut off"),
            ("STRING: bare", "STRING", "bare"),
            ("Opaque: Float: 1.500000", "Opaque", "Float: 1.500000"),
            ("Hex-STRING: 01 02 03 04 ", "Hex-STRING", "01 02 03 04"),
            (
                "Hex-STRING: DE AD BE EF 00 FF AA BB CC DD EE FF 00 11 22 33 \n44 55 ",
                "Hex-STRING",
                "DE AD BE EF 00 FF AA BB CC DD EE FF 00 11 22 33 44 55",
            ),
            ("Hex-STRING: 67 72 C3 BC 6E 20 7C 20 78 ", "STRING", "grün | x"),
            ("Wrong Type (should be INTEGER): STRING: \"x\"", "", "Wrong Type (should be INTEGER): STRING: \"x\""),
        ] {
            assert_eq!(one(&format!(".1.3.6.1.4.1.1 = {text}")), ("1.3.6.1.4.1.1".into(), kind.into(), value.into()));
        }
    }

    #[test]
    fn a_separator_inside_quotes_does_not_split() {
        let all = variables(".1.1 = STRING: \"a |~| \\\" |~| b\"|~|.1.2 = INTEGER: 1");
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].value, "a |~| \" |~| b");
        assert_eq!(all[1].value, "1");
    }

    #[test]
    fn a_broken_part_is_kept() {
        let all = variables("nonsense|~|.1.2 = INTEGER: 1|~|.1.3 = STRING: \"open|~|.1.4 = INTEGER: 2");
        assert_eq!(all[0].oid, "nonsense");
        assert_eq!(all[2].value, "open|~|.1.4 = INTEGER: 2");
    }

    #[test]
    fn a_thousand_variables_are_read() {
        let text: Vec<String> = (0..1000).map(|i| format!(".1.3.{i} = STRING: \"v{i}\"")).collect();
        assert_eq!(variables(&text.join(SEPARATOR)).len(), 1000);
    }
}
