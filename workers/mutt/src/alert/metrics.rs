//! What the alerter tells Prometheus: the names of CONTRACT section 7, and more of the same family.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};

use super::lane::Job;
use super::reason::Reason;
use crate::audit::{Outbox, timestamp};
use crate::rulesource::{Active, KeeperEvents, RuleSourceError};
use crate::telemetry::{ACCEPTED_TO_BUCKETS_S, BatchHistogram, QueueGauges};

/// All metrics of one alerter; clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    processed: IntCounterVec,
    alerts: IntCounter,
    meta_alerts: IntCounter,
    processing: BatchHistogram,
    /// Alert queue, dead letters, events in flight, as `mutt_alerter_*_depth`.
    pub queue_depth: IntGauge,
    /// See [`Metrics::queue_depth`].
    pub dlq_depth: IntGauge,
    /// See [`Metrics::queue_depth`].
    pub processing_list_depth: IntGauge,
    /// Both queues, dead letters, the balance.
    pub queues: QueueGauges,
    accepted_to_audited: BatchHistogram,
    rules_lag: Gauge,
    /// Since when another revision is current than the one in use.
    behind_since: Arc<Mutex<Option<Instant>>>,
    write_ms: Histogram,
    reload: Histogram,
    reload_failures: IntCounter,
    rules: IntGauge,
    dev_hosts: IntGauge,
    teams: IntGauge,
    rule_errors: IntGauge,
    /// Rules that hit their step limit too often of late.
    pub rules_suspended: IntGauge,
    /// Searches that ended at their step limit.
    pub step_limit_hits: IntGauge,
    /// Matches of rules in shadow mode.
    pub shadow_matches: IntCounterVec,
    /// 1 while the DEFAULT partition holds rows.
    pub default_partition_used: IntGauge,
    /// Months from now to three ahead without a partition.
    pub partitions_missing: IntGauge,
    /// Batches held because PostgreSQL or Redis is away.
    pub holding: IntGauge,
    /// 1 while PostgreSQL answers.
    pub postgres_up: IntGauge,
    /// 1 while the alert queue is above its threshold and nothing is taken.
    pub deferring: IntGauge,
    /// Batches taken over from workers that let them lapse.
    pub taken_over: IntCounter,
    /// Batches that another worker took over from this one.
    pub leases_lost: IntCounter,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = Registering(registry);
        // 0.5 ms to 16 s: a lone event takes about 2 ms, one that waits for PostgreSQL seconds.
        let seconds = exponential_buckets(0.0005, 2.0, 16)?;
        let millis = exponential_buckets(0.5, 2.0, 16)?;
        let processed = new.counters(
            "mutt_alerter_events_processed_total",
            "Events processed, by outcome: handled, unhandled, poison, error",
            "status",
        )?;
        for status in ["handled", "unhandled", "poison", "error"] {
            processed.with_label_values(&[status]);
        }
        Ok(Self {
            processed,
            alerts: new.counter("mutt_alerter_alerts_forwarded_total", "Alerts put into the alert queue")?,
            meta_alerts: new.counter("mutt_alerter_unhandled_meta_alerts_total", "Meta-alerts about unhandled messages")?,
            processing: new.add(BatchHistogram::new(
                "mutt_alerter_processing_latency_seconds",
                "From the take of an event to the finish of its batch",
                &seconds,
            ))?,
            queue_depth: new.gauge("mutt_alerter_queue_depth", "Alerts waiting in the alert queue")?,
            dlq_depth: new.gauge("mutt_alerter_dlq_depth", "Events in the alerter's dead letter queue")?,
            processing_list_depth: new.gauge("mutt_alerter_processing_list_depth", "Events in flight in all alerters")?,
            queues: QueueGauges::register(registry)?,
            accepted_to_audited: new.add(BatchHistogram::new(
                "mutt_accepted_to_audited_seconds",
                "From an event's acceptance to the finish of its batch, audited and its alert queued; replays are not counted",
                &ACCEPTED_TO_BUCKETS_S,
            ))?,
            rules_lag: new.add(Gauge::new(
                "mutt_alerter_rules_lag_seconds",
                "0 while the current revision of the rules is in use, else seconds since this worker saw that it is not",
            ))?,
            behind_since: Arc::default(),
            write_ms: new.histogram("mutt_db_write_latency_ms", "Milliseconds of one audit transaction", millis)?,
            reload: new.histogram(
                "mutt_alerter_cache_reload_latency_seconds",
                "Seconds to read and build a rule set",
                seconds,
            )?,
            reload_failures: new.counter(
                "mutt_alerter_cache_reload_failures_total",
                "Rule sets that could not be read or built; the one in use stayed",
            )?,
            rules: new.gauge("mutt_alerter_cache_rules_count", "Rules in use")?,
            dev_hosts: new.gauge("mutt_alerter_cache_dev_hosts_count", "Development hosts in use")?,
            teams: new.gauge("mutt_alerter_cache_teams_count", "Hosts with a team")?,
            rule_errors: new.gauge("mutt_alerter_cache_rule_errors_count", "Rules that are not in use as written")?,
            rules_suspended: new.gauge(
                "mutt_alerter_rules_suspended_count",
                "Rules suspended because their searches hit the step limit 100 times within a minute",
            )?,
            step_limit_hits: new.gauge(
                "mutt_alerter_regex_step_limit_hits",
                "Searches of the rule set in use that ended at the step limit and counted as no match",
            )?,
            shadow_matches: new.counters(
                "mutt_alerter_shadow_matches_total",
                "Events that a rule in shadow mode would have taken",
                "rule",
            )?,
            default_partition_used: new.gauge(
                "mutt_alerter_audit_default_partition_used",
                "1 while the audit's DEFAULT partition holds rows: run mutt db retention",
            )?,
            partitions_missing: new.gauge(
                "mutt_alerter_audit_partitions_missing",
                "Months from now to three ahead without a partition: run mutt db retention",
            )?,
            holding: new.gauge("mutt_alerter_batches_holding", "Batches held because PostgreSQL or Redis is away")?,
            postgres_up: new.gauge("mutt_alerter_postgres_up", "1 while PostgreSQL answers and has the schema")?,
            deferring: new.gauge("mutt_alerter_deferring", "1 while nothing is taken because the alert queue is too long")?,
            taken_over: new.counter("mutt_alerter_batches_taken_over_total", "Batches taken over from lapsed workers")?,
            leases_lost: new.counter("mutt_alerter_leases_lost_total", "Batches that another worker took over from this one")?,
        })
    }

    /// A batch is finished. `accepted`: when its events were, in µs since 2000, those of which this is of interest.
    pub(crate) fn finished(&self, outbox: &Outbox, meta_alerts: u64, job: &Job, accepted: &[i64]) {
        let unhandled: usize = outbox.groups.iter().map(|group| group.elements.len()).sum();
        let poison = outbox.dead.iter().filter(|entry| Reason::is_poison(&entry.reason)).count();
        let by_status = [
            ("handled", outbox.handled),
            ("unhandled", unhandled as u64),
            ("poison", poison as u64),
            ("error", (outbox.dead.len() - poison) as u64),
        ];
        for (status, count) in by_status {
            self.processed.with_label_values(&[status]).inc_by(count);
        }
        self.alerts.inc_by(outbox.alerts.len() as u64 + meta_alerts);
        self.meta_alerts.inc_by(meta_alerts);
        self.processing.observe_same(job.taken.elapsed().as_secs_f64(), job.batch.elements.len() as u64);
        let now = timestamp::now();
        // The ingestor's clock may be ahead.
        let ages = accepted.iter().map(|accepted| (now - accepted).max(0) as f64 / 1e6);
        self.accepted_to_audited.observe_all(ages);
    }

    /// Sets what grows by the clock alone.
    pub(crate) fn tick(&self) {
        let since = *self.behind_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.rules_lag.set(since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
    }

    /// An audit transaction is over.
    pub(crate) fn wrote(&self, took: Duration) {
        self.write_ms.observe(took.as_secs_f64() * 1e3);
    }
}

impl KeeperEvents for Metrics {
    fn reloaded(&self, active: &Active, took: Duration) {
        self.reload.observe(took.as_secs_f64());
        self.rules.set(active.compiled.rules().len() as i64);
        self.dev_hosts.set(active.compiled.development_hosts_count() as i64);
        self.teams.set(active.compiled.teams_count() as i64);
        self.rule_errors.set(active.errors.len() as i64);
    }

    fn failed(&self, _: &RuleSourceError) {
        self.reload_failures.inc();
    }

    fn behind(&self, behind: bool) {
        let mut since = self.behind_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = behind.then(|| since.unwrap_or_else(Instant::now));
        drop(since);
        self.tick();
    }
}

struct Registering<'a>(&'a Registry);

impl Registering<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> prometheus::Result<C> {
        let metric = made?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }
}
