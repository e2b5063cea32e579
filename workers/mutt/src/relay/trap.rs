//! One line of snmptrapd, as `manifests/snmptrapd/snmptrapd.conf` formats it, taken apart. Pure.
//!
//! `mutt-trap|<version>|<agent>|<agent name>|<source>|<source name>|<generic>|<specific>|<enterprise>|<variables>`
//! with `|~|` between variables, each as net-snmp prints it with numeric OIDs: `.1.3.6.1.2.1.1.3.0 = Timeticks: (100) 0:00:01.00`.

use std::net::IpAddr;

use serde::Serialize;

use super::variables::{Variable, variables};

/// Begins every trap line; what does not carry it is an ordinary log line.
pub(crate) const TAG: &str = "mutt-trap|";

/// snmpTrapOID.0: which notification a v2c or v3 PDU is (RFC 3416 4.2.6).
const SNMP_TRAP_OID: &str = "1.3.6.1.6.3.1.1.4.1.0";
/// sysUpTime.0, the first variable of every v2c or v3 notification.
const SYS_UP_TIME: &str = "1.3.6.1.2.1.1.3.0";
/// snmpTrapAddress.0: the device behind a proxy (RFC 3584 3.1).
const SNMP_TRAP_ADDRESS: &str = "1.3.6.1.6.3.18.1.3.0";
/// snmpTraps: generic traps are its children 1 to 6 (RFC 3584 3.1).
const SNMP_TRAPS: &str = "1.3.6.1.6.3.1.1.5";
/// Names of the generic traps in the order of their numbers.
const GENERIC: [&str; 6] = ["coldStart", "warmStart", "linkDown", "linkUp", "authenticationFailure", "egpNeighborLoss"];
/// Generic trap number that says: look at enterprise and specific number.
const ENTERPRISE_SPECIFIC: usize = 6;

/// What a trap line says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Trap {
    /// The device: its name by reverse look-up, else its address; `None` if the line names neither.
    pub(crate) hostname: Option<String>,
    /// The device's address.
    pub(crate) source_ip: Option<IpAddr>,
    /// Numeric, without a leading dot; `None` if the line has none that can be read.
    pub(crate) notification: Option<String>,
    /// `v1`, `v2c` or `v3`.
    pub(crate) version: &'static str,
    /// Enterprise OID of a v1 trap.
    pub(crate) enterprise: Option<String>,
    /// In the order of the PDU.
    pub(crate) variables: Vec<Variable>,
}

/// Fields of a line before anything is concluded from them.
struct Fields<'a> {
    version: &'a str,
    agent: &'a str,
    agent_name: &'a str,
    source: &'a str,
    source_name: &'a str,
    generic: &'a str,
    specific: &'a str,
    enterprise: &'a str,
}

impl Trap {
    /// Takes `message` apart; `None` if it is no trap line.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let (_, rest) = message.split_once(TAG)?;
        let rest = unescape_controls(rest);
        let mut parts = rest.splitn(9, '|').map(str::trim);
        let mut next = || parts.next();
        let fields = Fields {
            version: next()?,
            agent: next()?,
            agent_name: next()?,
            source: next()?,
            source_name: next()?,
            generic: next()?,
            specific: next()?,
            enterprise: next()?,
        };
        let variables = variables(next()?);
        Some(match fields.version {
            "0" => fields.first_version(variables),
            version => fields.later_version(if version == "1" { "v2c" } else { "v3" }, variables),
        })
    }

    /// One line for people and for rules: `SNMPv2c trap 1.3.6.1.6.3.1.1.5.3 (linkDown): 1.3.6.1.2.1.2.2.1.1.3 = 3`.
    pub(crate) fn message(&self) -> String {
        let mut text = format!("SNMP{} trap", self.version);
        if let Some(oid) = &self.notification {
            text.push(' ');
            text.push_str(oid);
            if let Some(name) = generic_name(oid) {
                text.extend([" (", name, ")"]);
            }
        }
        let shown = self.variables.iter().filter(|v| v.oid != SNMP_TRAP_OID && v.oid != SYS_UP_TIME);
        for (index, variable) in shown.enumerate() {
            text.push_str(if index == 0 { ": " } else { ", " });
            text.push_str(&variable.oid);
            text.push_str(" = ");
            text.push_str(&variable.value);
        }
        text
    }
}

impl Fields<'_> {
    /// SNMPv1: the PDU names the device, and RFC 3584 3.1 makes the OID.
    fn first_version(&self, variables: Vec<Variable>) -> Trap {
        let source = address(self.source);
        let agent = address(self.agent).filter(|agent| is_device(*agent, source));
        let (source_ip, name) = match agent {
            Some(agent) if Some(agent) != source => (Some(agent), self.agent_name),
            Some(agent) => (Some(agent), better_name(self.agent_name, self.source_name)),
            None => (source, self.source_name),
        };
        let enterprise = numeric(self.enterprise);
        Trap {
            hostname: device_name(name, source_ip),
            source_ip,
            notification: first_version_oid(self.generic, self.specific, enterprise.as_deref()),
            version: "v1",
            enterprise,
            variables,
        }
    }

    /// SNMPv2c and v3: the OID is a variable, and a proxy says in another one for whom it speaks.
    fn later_version(&self, version: &'static str, variables: Vec<Variable>) -> Trap {
        let source = address(self.source);
        let find = |oid: &str| variables.iter().find(|v| v.oid == oid).map(|v| v.value.as_str());
        let device = find(SNMP_TRAP_ADDRESS).and_then(address).filter(|device| is_device(*device, source));
        let (source_ip, name) = match device {
            Some(device) if Some(device) != source => (Some(device), ""),
            _ => (source, self.source_name),
        };
        Trap {
            hostname: device_name(name, source_ip),
            source_ip,
            notification: find(SNMP_TRAP_OID).and_then(numeric),
            version,
            enterprise: None,
            variables,
        }
    }
}

/// RFC 3584 3.1: generic traps are children of snmpTraps, others `enterprise.0.specific`.
fn first_version_oid(generic: &str, specific: &str, enterprise: Option<&str>) -> Option<String> {
    let generic: usize = number(generic)?.parse().ok()?;
    if generic < ENTERPRISE_SPECIFIC {
        return Some(format!("{SNMP_TRAPS}.{}", generic + 1));
    }
    Some(format!("{}.0.{}", enterprise?, number(specific)?))
}

/// The digits of a field that snmptrapd may print as `.17`.
fn number(field: &str) -> Option<&str> {
    let digits = field.trim_start_matches('.');
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

/// An OID in numbers without its leading dot; `None` for anything else.
fn numeric(oid: &str) -> Option<String> {
    let oid = oid.trim().trim_start_matches('.');
    let good = !oid.is_empty() && oid.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    good.then(|| oid.to_owned())
}

fn generic_name(oid: &str) -> Option<&'static str> {
    let arc: usize = oid.strip_prefix(SNMP_TRAPS)?.strip_prefix('.')?.parse().ok()?;
    GENERIC.get(arc.checked_sub(1)?).copied()
}

/// The first address in a field: plain, or as in `UDP: [10.0.0.1]:4711->[10.0.0.2]:162`.
fn address(field: &str) -> Option<IpAddr> {
    if let Ok(address) = field.trim().parse() {
        return Some(address);
    }
    let inside = field.split_once('[')?.1.trim_start_matches('[');
    let text = inside.split(']').next()?;
    text.split('%').next()?.parse().ok()
}

/// Devices that do not know their address send 0.0.0.0 or a loopback address; the sender's address is better then.
fn is_device(agent: IpAddr, source: Option<IpAddr>) -> bool {
    let from_here = source.is_none_or(|source| source.is_loopback());
    !agent.is_unspecified() && (!agent.is_loopback() || from_here)
}

/// The agent's name, unless it has none and the sender, which is the same address, has.
fn better_name<'a>(agent: &'a str, source: &'a str) -> &'a str {
    if is_name(agent) { agent } else { source }
}

/// A host name, not an address and not snmptrapd's words for "unknown".
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.parse::<IpAddr>().is_err()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn device_name(name: &str, address: Option<IpAddr>) -> Option<String> {
    if is_name(name) { Some(name.to_owned()) } else { address.map(|address| address.to_string()) }
}

/// Undoes rsyslog's escaping of tab, line feed and carriage return (`#011`, `#012`, `#015`); other escapes stay readable.
fn unescape_controls(text: &str) -> String {
    if !text.contains('#') {
        return text.to_owned();
    }
    text.replace("#011", "\t").replace("#012", "\n").replace("#015", "\r")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Lines of snmptrapd 5.9.3 (Debian 12), taken from its syslog output with our format.
    const LINK_DOWN_V1: &str = "mutt-trap|0|10.1.2.3|sw-1.example.net|UDP: [127.0.0.1]:58865->[127.0.0.1]:11162|localhost|2|0|.1.3.6.1.4.1.8072.3.2.10|.1.3.6.1.2.1.2.2.1.1 = INTEGER: 3";
    const ENTERPRISE_V1: &str = "mutt-trap|0|10.1.2.3|10.1.2.3|UDP: [127.0.0.1]:54424->[127.0.0.1]:11162|localhost|6|.17|.1.3.6.1.4.1.8072.2.3|.1.3.6.1.4.1.8072.2.1 = STRING: \"a \\\"quoted\\\" |~| text \\\\ with#012newline#011tab\"";
    const LINK_DOWN_V2: &str = "mutt-trap|1|0.0.0.0|0.0.0.0|UDP: [10.0.0.7]:55624->[127.0.0.1]:11162|core-1|0|0|.|.1.3.6.1.2.1.1.3.0 = Timeticks: (100) 0:00:01.00|~|.1.3.6.1.6.3.1.1.4.1.0 = OID: .1.3.6.1.6.3.1.1.5.3|~|.1.3.6.1.2.1.2.2.1.1.3 = INTEGER: 3";

    fn parse(line: &str) -> Trap {
        Trap::parse(line).unwrap()
    }

    #[test]
    fn a_generic_v1_trap_becomes_a_child_of_snmp_traps() {
        let trap = parse(LINK_DOWN_V1);
        assert_eq!(trap.notification.as_deref(), Some("1.3.6.1.6.3.1.1.5.3"));
        assert_eq!(trap.hostname.as_deref(), Some("sw-1.example.net"));
        assert_eq!(trap.source_ip, Some("10.1.2.3".parse().unwrap()));
        assert_eq!(trap.version, "v1");
        assert_eq!(trap.message(), "SNMPv1 trap 1.3.6.1.6.3.1.1.5.3 (linkDown): 1.3.6.1.2.1.2.2.1.1 = 3");
    }

    #[test]
    fn an_enterprise_specific_v1_trap_gets_zero_between_enterprise_and_number() {
        let trap = parse(ENTERPRISE_V1);
        assert_eq!(trap.notification.as_deref(), Some("1.3.6.1.4.1.8072.2.3.0.17"));
        assert_eq!(trap.enterprise.as_deref(), Some("1.3.6.1.4.1.8072.2.3"));
        assert_eq!(trap.hostname.as_deref(), Some("10.1.2.3"));
        assert_eq!(trap.variables[0].value, "a \"quoted\" |~| text \\ with\nnewline\ttab");
    }

    #[test]
    fn a_v2c_trap_takes_its_oid_from_the_variables_and_its_host_from_the_sender() {
        let trap = parse(LINK_DOWN_V2);
        assert_eq!(trap.notification.as_deref(), Some("1.3.6.1.6.3.1.1.5.3"));
        assert_eq!(trap.hostname.as_deref(), Some("core-1"));
        assert_eq!(trap.version, "v2c");
        assert_eq!(trap.variables.len(), 3);
        assert_eq!(trap.variables[0].value, "100");
    }

    #[test]
    fn a_v3_trap_is_read_like_v2c() {
        let line = LINK_DOWN_V2.replace("mutt-trap|1|", "snmptrapd[17]: mutt-trap|2|");
        assert_eq!(parse(&line).version, "v3");
    }

    #[test]
    fn every_generic_number_maps_and_seven_does_not() {
        for number in 0..6 {
            let oid = first_version_oid(&number.to_string(), "0", None);
            assert_eq!(oid, Some(format!("{SNMP_TRAPS}.{}", number + 1)));
        }
        assert_eq!(first_version_oid("6", ".4", Some("1.3.6.1.4.1.9")), Some("1.3.6.1.4.1.9.0.4".into()));
        assert_eq!(first_version_oid("6", "x", Some("1.3.6.1.4.1.9")), None);
        assert_eq!(first_version_oid("", "", None), None);
    }

    #[test]
    fn the_device_is_found_behind_useless_agent_addresses() {
        for (agent, source, want) in [
            ("0.0.0.0", "UDP: [10.0.0.9]:1->[10.0.0.1]:162", "10.0.0.9"),
            ("127.0.0.1", "UDP: [10.0.0.9]:1->[10.0.0.1]:162", "10.0.0.9"),
            ("127.0.0.1", "UDP: [127.0.0.1]:1->[10.0.0.1]:162", "127.0.0.1"),
            ("10.5.5.5", "UDP: [10.0.0.9]:1->[10.0.0.1]:162", "10.5.5.5"),
            ("0.0.0.0", "UDP/IPv6: [fe80::1%eth0]:1->[::]:162", "fe80::1"),
            ("0.0.0.0", "UDP/IPv6: [[2001:db8::1]:55]->[[::1]:162]", "2001:db8::1"),
        ] {
            let line = format!("mutt-trap|0|{agent}|{agent}|{source}|<UNKNOWN>|0|0|.1.3.6.1|");
            assert_eq!(parse(&line).hostname.as_deref(), Some(want), "{line}");
        }
    }

    #[test]
    fn a_proxy_names_the_device_in_snmp_trap_address() {
        let line = format!("{LINK_DOWN_V2}|~|.1.3.6.1.6.3.18.1.3.0 = IpAddress: 10.9.9.9");
        let trap = parse(&line);
        assert_eq!(trap.hostname.as_deref(), Some("10.9.9.9"));
        assert_eq!(trap.source_ip, Some("10.9.9.9".parse().unwrap()));
    }

    #[test]
    fn a_line_without_the_tag_or_cut_off_in_its_head_is_no_trap() {
        assert_eq!(Trap::parse("NET-SNMP version 5.9.3"), None);
        assert_eq!(Trap::parse("mutt-trap|1|0.0.0.0|0.0.0.0|UDP: [10.0"), None);
    }

    #[test]
    fn a_trap_cut_off_in_its_variables_keeps_what_came() {
        let cut = &LINK_DOWN_V2[..LINK_DOWN_V2.len() - 12];
        assert_eq!(parse(cut).notification.as_deref(), Some("1.3.6.1.6.3.1.1.5.3"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_without_panic(text in "\\PC*", tail in ".*") {
            let _ = Trap::parse(&text);
            if let Some(trap) = Trap::parse(&format!("{TAG}1|a|b|c|d|e|f|g|{tail}")) {
                let _ = trap.message();
            }
        }
    }
}
