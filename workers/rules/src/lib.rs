//! Alert rules: their types and YAML envelope, the canonical rule set with its revision, the compiler and the matcher.
//!
//! Pure: no I/O and no clock. The alerter compiles a [`RuleSet`] into a [`Compiled`] and asks it to decide events; the operator and the
//! command line use [`validate`], [`run_tests`] and [`lint`] on single rules. Semantics: CONTRACT sections 3 and 10.

mod check;
mod compile;
mod decide;
mod document;
mod event;
mod examine;
mod fold;
mod hosts;
mod lint;
mod oid;
mod pipeline;
mod reach;
mod rule_set;
mod signature;
mod spec;
pub mod synthetic;
mod validate;

pub use check::{TestFailure, run_tests};
pub use compile::{Compiled, CompiledRule, RuleError};
pub use decide::{Decision, Handled, Scratch};
pub use document::{Document, Object, ParseError, ParseErrors, parse_documents};
pub use event::Event;
pub use examine::{Examined, examine};
pub use lint::{LintCode, LintWarning, lint};
pub use pipeline::{MuttPipelineView, PipelineSpecView, TeamHosts};
pub use reach::{Claim, shadowed};
pub use rule_set::{InvalidRevision, Revision, Rule, RuleSet, RuleSetError, hex};
pub use signature::{SignatureMode, masked, signature, signature_hex};
pub use spec::{
    AlertRule, AlertRuleSpec, AlertSeverity, Expectation, Handling, Match, MessageMatch, Metadata, Mode, RuleTest,
    SeverityMatch, TestEvent,
};
pub use validate::{IssueCode, RuleIssue, is_forwarded, validate};

/// `apiVersion` of AlertRule and MuttPipeline.
pub const API_VERSION: &str = "mutt.dev/v1alpha1";
