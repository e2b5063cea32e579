//! AlertRule as users write it: YAML, JSON and the Kubernetes custom resource share these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::API_VERSION;

/// An alert rule with its envelope, the same for `kubectl apply`, `mutt rules apply` and a directory of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRule {
    /// `mutt.dev/v1alpha1`.
    pub api_version: String,
    /// `AlertRule`.
    pub kind: String,
    /// Name, namespace and labels.
    pub metadata: Metadata,
    /// What the rule matches and what follows.
    pub spec: AlertRuleSpec,
}

impl AlertRule {
    /// Wraps a spec in an envelope of the current version.
    pub fn new(name: impl Into<String>, namespace: Option<String>, spec: AlertRuleSpec) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "AlertRule".to_owned(),
            metadata: Metadata { name: name.into(), namespace, labels: BTreeMap::new() },
            spec,
        }
    }

    /// The name by which rule sets and the audit know the rule: `namespace/name`, with namespace `default` where none is given.
    pub fn qualified_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace.as_deref().unwrap_or("default"), self.metadata.name)
    }
}

/// The part of Kubernetes' object metadata that counts here; further fields (annotations, uid, …) are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name, unique in the namespace.
    pub name: String,
    /// Namespace; none is read as `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels, by which a pipeline selects its rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What an alert rule matches and what then happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRuleSpec {
    /// What the rule is for, for people. Default: empty. Example: `BGP session lost`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub description: String,
    /// Order of the rules: the lower number is tried first and the first match wins. Ties: rules from PostgreSQL by id, AlertRules by
    /// namespace and name. Default: 100. Example: `10`.
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// Whether the rule takes part at all. Default: true. Example: `false`.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// `Active`, or `Shadow`: matches are counted, decide nothing and forward nothing. Default: Active. Example: `Shadow`.
    #[serde(default)]
    pub mode: Mode,
    /// Which events the rule takes: all given criteria must hold; at least one of `message` and `trapOid` is needed.
    /// Example: `{message: {contains: "BGP-5-ADJCHANGE"}}`.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What to do with a matched event, by the kind of host. Example: `{production: Page_and_ticket, development: Ticket_only}`.
    pub handling: Handling,
    /// Severity of the alert sent on: Critical (5), Major (4), Warning (3), Minor (2), Info (1) or Clear (0). Default: Warning.
    /// Example: `Critical`.
    #[serde(default)]
    pub severity: AlertSeverity,
    /// The team the alert is assigned to, at most 100 characters. Example: `NETO`.
    #[schemars(length(min = 1, max = 100))]
    pub team: String,
    /// Sample events with the expected result, run by `mutt rules test` and before a rule becomes active. Default: none. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub tests: Vec<RuleTest>,
}

impl AlertRuleSpec {
    /// Whether the rule takes part and decides (enabled and not in shadow mode).
    pub fn is_active(&self) -> bool {
        self.enabled && self.mode == Mode::Active
    }
}

fn default_priority() -> i32 {
    100
}

fn default_enabled() -> bool {
    true
}

/// Whether a matching rule decides or is only counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The rule decides.
    #[default]
    Active,
    /// The rule is counted, the next active rule decides.
    Shadow,
}

/// The criteria of a rule; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.message) || has(self.trapOid)", "message": "needs at least one of message and trapOid"},
]))]
pub struct Match {
    /// Criterion on the message text. Default: none. Example: `{contains: "BGP-5-ADJCHANGE"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageMatch>,
    /// Prefix of the trap's OID, by whole arcs (`1.3.6.1.4` does not take `1.3.6.1.41`); a leading dot and a trailing `.` or `.*` are
    /// ignored. Default: none. Example: `1.3.6.1.2.1.15.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub trap_oid: Option<String>,
    /// Criterion on the syslog severity (0 = emergency … 7 = debug); on traps it is tested only if the event carries one.
    /// Default: none. Example: `{atMost: 3}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<SeverityMatch>,
    /// Hosts the rule is limited to, any of: a host name, a glob (`*`, `?`, `[a-c]`, `{a,b}`) over the host name, or an address or CIDR
    /// of `source_ip` (of the host name, if that is an address and no `source_ip` is given). Names ignore case. Default: all hosts. At most 256. Example: `["core-*", "10.1.0.0/16"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 255)))]
    pub hosts: Vec<String>,
}

/// Criterion on the message: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.contains) != has(self.regex)", "message": "needs exactly one of contains and regex"},
]))]
pub struct MessageMatch {
    /// Text that the message contains, case ignored (Unicode simple folding); spaces and all other characters are literal.
    /// At most 4,096 bytes. Default: none. Example: `BGP-5-ADJCHANGE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub contains: Option<String>,
    /// Regular expression searched anywhere in the message, case ignored. Look-around and back-references work, slowly and with bounded
    /// steps. At most 4,096 bytes. Default: none. Example: `neighbor .* Down`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub regex: Option<String>,
}

/// Criterion on the syslog severity: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.equals) != has(self.atMost)", "message": "needs exactly one of equals and atMost"},
]))]
pub struct SeverityMatch {
    /// This severity only, 0 (emergency) to 7 (debug). Default: none. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 7))]
    pub equals: Option<i32>,
    /// This severity or a more urgent one (a lower number), 0 to 7. Default: none. Example: `3` takes 0, 1, 2 and 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 7))]
    pub at_most: Option<i32>,
}

/// Handling words. `Page_and_ticket`, `Page_only` and `Ticket_only` (case ignored) forward the alert; any other word, like `Ignore` or
/// `Log_only`, means audit only. The audit keeps the word as given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Handling {
    /// For all hosts that are not development hosts, at most 100 characters. Example: `Page_and_ticket`.
    #[schemars(length(max = 100))]
    pub production: String,
    /// For development hosts, at most 100 characters. Example: `Ticket_only`.
    #[schemars(length(max = 100))]
    pub development: String,
}

/// Severity of an alert as the webhook knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AlertSeverity {
    /// 5.
    Critical,
    /// 4.
    Major,
    /// 3, the default.
    #[default]
    Warning,
    /// 2.
    Minor,
    /// 1.
    Info,
    /// 0.
    Clear,
}

impl AlertSeverity {
    /// The word as it stands in an alert.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::Major => "Major",
            Self::Warning => "Warning",
            Self::Minor => "Minor",
            Self::Info => "Info",
            Self::Clear => "Clear",
        }
    }

    /// The webhook's number: Critical 5 … Clear 0.
    pub fn level(self) -> u8 {
        match self {
            Self::Critical => 5,
            Self::Major => 4,
            Self::Warning => 3,
            Self::Minor => 2,
            Self::Info => 1,
            Self::Clear => 0,
        }
    }

    /// Reads the word, case ignored; anything else is `Warning`, as the webhook contract says.
    pub fn from_word(word: &str) -> Self {
        [Self::Critical, Self::Major, Self::Minor, Self::Info, Self::Clear]
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(word))
            .unwrap_or(Self::Warning)
    }
}

/// A sample event and what the rule is expected to say to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleTest {
    /// The sample event, with the keys of the ingest API.
    pub event: TestEvent,
    /// `match` or `no_match`. Example: `match`.
    pub expect: Expectation,
}

/// The keys of an event that rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestEvent {
    /// The sending device. Default: empty. Example: `core-1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 255))]
    pub hostname: String,
    /// The message text. Default: empty. Example: `%BGP-5-ADJCHANGE: neighbor 10.0.0.1 Down`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 65_536))]
    pub message: String,
    /// OID of an SNMP trap. Default: none. Example: `1.3.6.1.6.3.1.1.5.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub trap_oid: Option<String>,
    /// Syslog severity, 0 to 7. Default: none. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 7))]
    pub syslog_severity: Option<i32>,
    /// Address of the sender. Default: none. Example: `10.1.2.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub source_ip: Option<String>,
}

/// Expected result of a rule's test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// The rule takes the event.
    Match,
    /// The rule does not take the event.
    NoMatch,
}
