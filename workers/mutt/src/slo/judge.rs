//! From recorded ratios to how an objective stands. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{OBJECTIVES, Objective, Slo, State, WINDOW_HOURS};

const WHOLE: &str = "30d";
const NOW: &str = "1h";

/// What Prometheus has recorded.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Part of the events that missed an objective, by objective and window.
    pub(super) errors: BTreeMap<(String, String), f64>,
    /// Part that may miss it, by objective.
    pub(super) budgets: BTreeMap<String, f64>,
    /// Objectives on whose burn rate an alert fires, each with the alert's long window.
    pub(super) burning: BTreeMap<String, String>,
    /// The pipelines that the series speak of, as `namespace/pipeline`.
    pub(super) pipelines: BTreeSet<String>,
}

/// How all objectives stand.
pub(super) fn judge(recorded: &Result<Recorded, String>) -> Vec<Slo> {
    OBJECTIVES.iter().map(|objective| one(objective, recorded)).collect()
}

fn one(objective: &Objective, recorded: &Result<Recorded, String>) -> Slo {
    let mut slo = Slo {
        slo_name: objective.name,
        description: objective.description,
        window_hours: WINDOW_HOURS,
        actual_value: None,
        status: State::Unknown,
        error_budget_remaining: None,
        burn_rate: None,
        message: String::new(),
        target: objective.target,
    };
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(error) => return Slo { message: error.clone(), ..slo },
    };
    if recorded.pipelines.len() > 1 {
        let names = recorded.pipelines.iter().cloned().collect::<Vec<_>>().join(", ");
        slo.message = format!(
            "Prometheus holds several pipelines ({names}): SLO_SELECTOR must name this one, as \
             namespace=\"…\",pipeline=\"…\""
        );
        return slo;
    }
    let budget = recorded.budgets.get(objective.name).copied().filter(|budget| *budget > 0.0);
    let budget = budget.unwrap_or(1.0 - objective.target);
    slo.target = rounded(1.0 - budget);
    let errors = |window: &str| recorded.errors.get(&(objective.name.to_owned(), window.to_owned())).copied();
    let Some(missed) = errors(WHOLE) else {
        slo.message = if recorded.budgets.is_empty() && recorded.errors.is_empty() {
            "Prometheus has no series of this pipeline's objectives: load manifests/prometheus/mutt.rules.yaml, on \
             Kubernetes set spec.monitoring.prometheusRule, and see that it scrapes the workers"
                .to_owned()
        } else {
            "no event to judge by yet".to_owned()
        };
        return slo;
    };
    let remaining = 1.0 - missed / budget;
    (slo.status, slo.message) = if remaining <= 0.0 {
        (State::Breached, "the error budget of 30 days is used up".to_owned())
    } else if let Some(window) = recorded.burning.get(objective.name) {
        (State::AtRisk, format!("MuttErrorBudgetBurn fires: too many of the last {window} missed it"))
    } else {
        (State::Ok, format!("{:.0} % of the error budget is left", remaining * 100.0))
    };
    slo.actual_value = Some(rounded(1.0 - missed));
    slo.error_budget_remaining = Some(rounded(remaining));
    // Without an event in the last hour nothing was missed in it.
    slo.burn_rate = Some(rounded(errors(NOW).unwrap_or(0.0) / budget));
    slo
}

/// Six places: more are noise of floating point.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn judged(errors: &[(&str, f64)]) -> Slo {
        judged_while(errors, false)
    }

    fn judged_while(errors: &[(&str, f64)], fires: bool) -> Slo {
        let errors =
            errors.iter().map(|(window, missed)| (("ingest_latency".to_owned(), (*window).to_owned()), *missed));
        let burning = fires.then(|| ("ingest_latency".to_owned(), "6h".to_owned())).into_iter().collect();
        let recorded = Recorded { errors: errors.collect(), burning, ..Recorded::default() };
        judge(&Ok(recorded)).swap_remove(1)
    }

    #[test]
    fn budget_and_pace_decide() {
        let quiet = judged(&[("30d", 0.001), ("1h", 0.0)]);
        assert_eq!((quiet.status, quiet.actual_value, quiet.target), (State::Ok, Some(0.999), 0.99));
        assert_eq!((quiet.error_budget_remaining, quiet.burn_rate), (Some(0.9), Some(0.0)));
        let fast = judged_while(&[("30d", 0.001), ("1h", 0.2)], true);
        assert_eq!((fast.status, fast.burn_rate), (State::AtRisk, Some(20.0)));
        assert!(fast.message.contains("of the last 6h"), "{}", fast.message);
        let few = judged(&[("30d", 0.001), ("1h", 0.2)]);
        assert_eq!((few.status, few.burn_rate), (State::Ok, Some(20.0)), "too few to wake somebody");
        let spent = judged(&[("30d", 0.02)]);
        assert_eq!((spent.status, spent.error_budget_remaining), (State::Breached, Some(-1.0)));
    }

    #[test]
    fn what_is_not_known_says_what_to_do() {
        let none = judged(&[]);
        assert_eq!((none.status, none.actual_value, none.burn_rate), (State::Unknown, None, None));
        assert!(none.message.contains("mutt.rules.yaml"), "{}", none.message);
        let away = judge(&Err("away".to_owned()));
        assert!(away.iter().all(|slo| slo.status == State::Unknown && slo.message == "away"));
        let budgets = [("ingest_latency".to_owned(), 0.05)].into();
        let silent = judge(&Ok(Recorded { budgets, ..Recorded::default() })).swap_remove(1);
        assert_eq!((silent.message.as_str(), silent.target), ("no event to judge by yet", 0.95), "their budget counts");
        let pipelines = ["a/core".to_owned(), "b/core".to_owned()].into();
        let several = judge(&Ok(Recorded { pipelines, ..Recorded::default() })).swap_remove(0);
        assert!(several.message.contains("a/core, b/core") && several.message.contains("SLO_SELECTOR"));
    }
}
