//! Synthetic rules and messages for measurements, the same for the same seed.
//!
//! Rules look like those of a network operations team: 70 % contains, 20 % regex, 10 % OID. Messages are about 190 bytes of
//! vendor-like syslog, 60 % of which some rule takes; traps come in the share of their rules.

use crate::rule_set::{Rule, RuleSet};
use crate::spec::{AlertRuleSpec, AlertSeverity, Handling, Match, MessageMatch, Mode};

/// An event with what rules look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticEvent {
    /// Sending device.
    pub hostname: String,
    /// Message text, about 190 bytes.
    pub message: String,
    /// OID, of traps.
    pub trap_oid: Option<String>,
    /// Syslog severity, of syslog messages.
    pub syslog_severity: Option<i64>,
}

impl SyntheticEvent {
    /// What rules see of it.
    pub fn as_event(&self) -> crate::Event<'_> {
        crate::Event {
            hostname: &self.hostname,
            message: &self.message,
            trap_oid: self.trap_oid.as_deref(),
            syslog_severity: self.syslog_severity,
            source_ip: None,
        }
    }
}

/// What a rule looks for, before it becomes a rule or a message.
enum Subject {
    /// `%FACILITY-4-MNEMONIC`.
    Contains { mnemonic: String },
    /// `MNEMONIC: Interface \S+, changed state to (up|down)` and the like.
    Regex { mnemonic: String, shape: usize },
    /// Prefix of an OID.
    Oid { prefix: String },
}

/// Makes `count` rules.
pub fn rules(count: usize, seed: u64) -> RuleSet {
    let rules = (0..count).map(|number| Rule {
        id: Some(number as i32 + 1),
        name: (number + 1).to_string(),
        spec: spec(&subject(number, seed), number),
    });
    RuleSet::new(rules.collect(), (0..10).map(|number| format!("lab-{number}")), [])
}

/// Makes `count` events for the rules of [`rules`] with the same seed and their number.
pub fn events(count: usize, rules: usize, seed: u64) -> Vec<SyntheticEvent> {
    let mut random = Random(seed ^ 0xe5e7_75ee_d000_0001);
    (0..count).map(|_| event(&mut random, rules, seed)).collect()
}

/// The subject of the rule with this number.
fn subject(number: usize, seed: u64) -> Subject {
    let mut random = Random(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match number % 10 {
        0..7 => Subject::Contains { mnemonic: mnemonic(&mut random) },
        7..9 => Subject::Regex { mnemonic: mnemonic(&mut random), shape: random.below(REGEX_SHAPES.len()) },
        _ => Subject::Oid { prefix: format!("1.3.6.1.4.1.{}.{}.{}", random.below(40_000), random.below(50), number) },
    }
}

/// Regexes by shape, each with a text that it matches; `@` stands for the mnemonic.
const REGEX_SHAPES: &[(&str, &str)] = &[
    (r"@: Interface \S+, changed state to (up|down)", "@: Interface TenGigabitEthernet1/0/24, changed state to down"),
    (r"neighbor \d+\.\d+\.\d+\.\d+ .* @", "neighbor 10.20.30.40 (vrf customer) went away: @"),
    (r"\b@\b.*(fail|error|timeout)", "@ on supervisor slot 3: keepalive timeout"),
    (r"(power supply|fan tray) \d+ @", "power supply 2 @"),
    (r"@ .* threshold \w+ exceeded", "@ cpu utilization 97% threshold critical exceeded"),
];

fn spec(subject: &Subject, number: usize) -> AlertRuleSpec {
    let mut matches = Match::default();
    match subject {
        Subject::Contains { mnemonic } => {
            matches.message = Some(MessageMatch { contains: Some(mnemonic.clone()), regex: None });
        }
        Subject::Regex { mnemonic, shape } => {
            let regex = REGEX_SHAPES[*shape].0.replace('@', mnemonic);
            matches.message = Some(MessageMatch { contains: None, regex: Some(regex) });
        }
        Subject::Oid { prefix } => matches.trap_oid = Some(prefix.clone()),
    }
    AlertRuleSpec {
        description: String::new(),
        priority: 100 + (number % 7) as i32,
        enabled: true,
        mode: Mode::Active,
        matches,
        handling: Handling {
            production: if number.is_multiple_of(10) { "Page_and_ticket" } else { "Ticket_only" }.to_owned(),
            development: "Log_only".to_owned(),
        },
        severity: AlertSeverity::Warning,
        team: format!("TEAM{}", number % 20),
        tests: Vec::new(),
    }
}

fn event(random: &mut Random, rules: usize, seed: u64) -> SyntheticEvent {
    let hostname = format!("{}-{}", ["core", "edge", "dist", "acc"][random.below(4)], random.below(500));
    let severity = Some(random.below(8) as i64);
    if rules == 0 || random.below(100) >= 60 {
        let mnemonic = mnemonic(random);
        let text = REGEX_SHAPES[random.below(REGEX_SHAPES.len())].1.replace('@', &mnemonic);
        let message = padded(random, &text);
        return SyntheticEvent { hostname, message, trap_oid: None, syslog_severity: severity };
    }
    match subject(random.below(rules), seed) {
        Subject::Contains { mnemonic } => {
            let message = padded(random, &mnemonic);
            SyntheticEvent { hostname, message, trap_oid: None, syslog_severity: severity }
        }
        Subject::Regex { mnemonic, shape } => {
            let text = REGEX_SHAPES[shape].1.replace('@', &mnemonic);
            SyntheticEvent { hostname, message: padded(random, &text), trap_oid: None, syslog_severity: severity }
        }
        Subject::Oid { prefix } => {
            let oid = format!("{prefix}.0.{}", random.below(100));
            SyntheticEvent {
                hostname,
                message: padded(random, "SNMP trap"),
                trap_oid: Some(oid),
                syslog_severity: None,
            }
        }
    }
}

/// Puts the text into a message of about 190 bytes.
fn padded(random: &mut Random, text: &str) -> String {
    let mut message = format!(
        "{}: Nov 25 {:02}:{:02}:{:02}.{:03}: {text}",
        random.below(1_000_000),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(1000)
    );
    while message.len() < 175 {
        message.push(' ');
        message.push_str(WORDS[random.below(WORDS.len())]);
        if random.below(4) == 0 {
            message.extend([" ", &random.below(65_536).to_string()]);
        }
    }
    message
}

/// `FACILITY-severity-MNEMONIC`, of which there are some hundred million.
fn mnemonic(random: &mut Random) -> String {
    let facility = FACILITIES[random.below(FACILITIES.len())];
    let (first, second) = (PARTS[random.below(PARTS.len())], PARTS[random.below(PARTS.len())]);
    format!("{facility}-{}-{first}_{second}{}", random.below(8), random.below(1000))
}

const FACILITIES: &[&str] = &[
    "LINK",
    "LINEPROTO",
    "BGP",
    "OSPF",
    "ISIS",
    "SYS",
    "SNMP",
    "HSRP",
    "STP",
    "SPANTREE",
    "ENVMON",
    "PLATFORM",
    "AAA",
    "DOT1X",
    "ACL",
    "NTP",
    "LACP",
    "VPC",
    "FEX",
    "MPLS",
    "LDP",
    "PIM",
    "IGMP",
    "DHCP",
    "ARP",
    "IPSEC",
    "VRRP",
    "BFD",
    "QOS",
    "CDP",
];
const PARTS: &[&str] = &[
    "UPDOWN",
    "ADJCHANGE",
    "NBRSTATE",
    "DUPADDR",
    "LOWMEM",
    "CPUHOG",
    "AUTHFAIL",
    "CONFIG",
    "RESTART",
    "RELOAD",
    "FLAP",
    "ERRDIS",
    "MISMATCH",
    "OVERRUN",
    "FANFAIL",
    "PSUFAIL",
    "TEMP",
    "LICENSE",
    "SYNC",
    "TIMEOUT",
    "REJECT",
    "DROP",
    "STORM",
    "LOOP",
    "GUARD",
];
const WORDS: &[&str] = &[
    "interface",
    "changed",
    "state",
    "down",
    "up",
    "neighbor",
    "session",
    "from",
    "to",
    "the",
    "user",
    "admin",
    "process",
    "peer",
    "connection",
    "vrf",
    "customer",
    "GigabitEthernet0/1",
    "10.12.0.7",
    "local",
    "port",
    "vlan",
    "timer",
    "expired",
    "line",
    "slot",
    "module",
    "reason",
    "received",
    "notification",
    "link",
    "error",
    "rate",
    "limit",
    "packet",
    "queue",
    "buffer",
    "source",
];

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Compiled, Scratch};

    #[test]
    fn the_mix_is_as_promised() {
        let set = rules(1_000, 7);
        assert_eq!(set, rules(1_000, 7));
        let compiled = Compiled::build(&set, None);
        assert_eq!(compiled.errors(), []);
        let share = |kind: &dyn Fn(&Match) -> bool| set.rules().iter().filter(|rule| kind(&rule.spec.matches)).count();
        let message = |matches: &Match| matches.message.clone().unwrap_or_default();
        assert_eq!(share(&|matches| message(matches).contains.is_some()), 700);
        assert_eq!(share(&|matches| message(matches).regex.is_some()), 200);
        assert_eq!(share(&|matches| matches.trap_oid.is_some()), 100);

        let events = events(5_000, 1_000, 7);
        let mut scratch = Scratch::default();
        let handled =
            events.iter().filter(|event| compiled.decide(&event.as_event(), &mut scratch).is_handled()).count();
        assert!((2_800..3_200).contains(&handled), "{handled} of 5000 are handled");
        let bytes: usize = events.iter().map(|event| event.message.len()).sum();
        assert!((175..205).contains(&(bytes / 5_000)), "{} bytes a message", bytes / 5_000);
    }
}
