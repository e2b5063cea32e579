//! What was sent and what became of it.

use std::fmt::Write as _;

use serde_json::json;

use super::post::Answer;

/// Refused lines shown to people; JSON has all.
const SHOWN_MAX: usize = 20;

/// Sums over all requests of one call.
#[derive(Debug, Default)]
pub(super) struct Report {
    sent: u64,
    refused: Vec<Refused>,
    correlation_ids: Vec<String>,
    queue_depth: u64,
}

#[derive(Debug)]
struct Refused {
    line: u64,
    code: String,
    message: String,
}

impl Report {
    /// Adds a request's answer; `lines` are the numbers of its events.
    pub(super) fn add(&mut self, lines: &[u64], answer: Answer) {
        self.sent += lines.len() as u64;
        self.queue_depth = answer.queue_depth;
        if answer.rejected.is_some() {
            self.correlation_ids.extend(answer.correlation_ids.unwrap_or_default());
            for error in answer.errors {
                let line = lines.get(error.index).copied().unwrap_or_default();
                self.refused.push(Refused { line, code: error.code, message: error.message });
            }
        } else if answer.status < 300 {
            self.correlation_ids.push(answer.correlation_id);
        } else {
            let refused =
                |line: &u64| Refused { line: *line, code: answer.code.clone(), message: answer.message.clone() };
            self.refused.extend(lines.iter().map(refused));
        }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.len() as u64
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        match (self.correlation_ids.as_slice(), self.refused.as_slice()) {
            ([id], []) => {
                let _ = writeln!(text, "queued: correlation id {id}, {} in the queue", self.queue_depth);
                return text;
            }
            ([], [one]) => {
                let _ = writeln!(text, "refused ({}): {}", one.code, one.message);
                return text;
            }
            _ => {}
        }
        let accepted = self.sent - self.refused();
        let _ = writeln!(text, "{} events sent: {accepted} queued, {} refused", self.sent, self.refused());
        for Refused { line, code, message } in self.refused.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "  line {line}: {code}: {message}");
        }
        if self.refused.len() > SHOWN_MAX {
            let _ = writeln!(text, "  … and {} more; --output json has all", self.refused.len() - SHOWN_MAX);
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let errors: Vec<_> = self
            .refused
            .iter()
            .map(|refused| json!({"line": refused.line, "code": refused.code, "message": refused.message}))
            .collect();
        let report = json!({
            "sent": self.sent,
            "accepted": self.sent - self.refused(),
            "rejected": self.refused(),
            "queue_depth": self.queue_depth,
            "correlation_ids": self.correlation_ids,
            "errors": errors,
        });
        format!("{report}\n")
    }
}
