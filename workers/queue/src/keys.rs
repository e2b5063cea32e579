//! The names of all keys in Redis (CONTRACT section 2), from a prefix and explicit overrides.

use crate::ids::{BatchId, WorkerId};

/// Who takes batches: the two kinds of worker with leases and heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes from the ingest queue.
    Alerter,
    /// Takes from the alert queue.
    Moog,
}

/// Key settings that win over the prefix (INGEST_QUEUE_NAME, …); `None` follows the prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the key of the same name in Keys")]
pub struct KeyOverrides {
    pub ingest_queue: Option<String>,
    pub alert_queue: Option<String>,
    pub processing_alerter: Option<String>,
    pub processing_moog: Option<String>,
    pub heartbeat_alerter: Option<String>,
    pub heartbeat_moog: Option<String>,
    pub dlq_alerter: Option<String>,
    pub dlq_moog: Option<String>,
    pub unhandled: Option<String>,
    pub metrics: Option<String>,
    pub rate_limit_moog: Option<String>,
}

/// All key names of one pipeline. Immutable after it is made; clone it freely or share it in an Arc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The prefix itself, without a colon.
    pub prefix: String,
    /// List: accepted events, LPUSH at the head, taken at the tail.
    pub ingest_queue: String,
    /// List: alerts for the webhook.
    pub alert_queue: String,
    /// Prefix of the alerter's lists in flight.
    pub processing_alerter: String,
    /// Prefix of the forwarder's lists in flight.
    pub processing_moog: String,
    /// Sorted set: the alerter's leases, score = end in ms of Redis' clock.
    pub leases_alerter: String,
    /// Sorted set: the forwarder's leases.
    pub leases_moog: String,
    /// Hash: phase and tries of the alerter's leased batches.
    pub lease_state_alerter: String,
    /// Hash: the same for the forwarder.
    pub lease_state_moog: String,
    /// Sorted set: alerts that wait for a retry, score = due time in ms.
    pub delayed_moog: String,
    /// List: alerts refused with 401/403/404 while the forwarder pauses.
    pub refused_moog: String,
    /// Hash: the forwarder's shared pause.
    pub pause_moog: String,
    /// Prefix of the alerters' heartbeats.
    pub heartbeat_alerter: String,
    /// Prefix of the forwarders' heartbeats.
    pub heartbeat_moog: String,
    /// Sorted set beside the heartbeats: live workers by their heartbeat's end, so that they can
    /// be counted without KEYS or SCAN.
    pub workers_alerter: String,
    /// The same for forwarders.
    pub workers_moog: String,
    /// List: refused items of batches.
    pub dlq_ingest: String,
    /// List: events that the alerter cannot process.
    pub dlq_alerter: String,
    /// List: alerts that could not be delivered.
    pub dlq_moog: String,
    /// List: what was replayed three times in vain.
    pub dlq_dead: String,
    /// Hash: running totals, see [`crate::totals`].
    pub totals: String,
    /// Sorted set: sliding window of the webhook's rate limit.
    pub rate_limit_moog: String,
    /// Prefix of the shared circuit breaker's keys.
    pub circuit_breaker: String,
    /// Prefix of counters of unhandled events.
    pub unhandled: String,
    /// Prefix of summary counters.
    pub metrics: String,
    /// String: the current revision of the rules.
    pub rules_current: String,
    /// String: sequence number of the last publication of rules.
    pub rules_sequence: String,
    /// Hash: worker → acknowledged revision; the channel of the same name tells who acknowledged.
    pub rules_ack: String,
    /// Hash: settings changed at run time.
    pub settings: String,
}

impl Keys {
    /// All names below `prefix` (default `mutt`; `{mutt}` puts all into one slot of a cluster).
    pub fn new(prefix: &str) -> Self {
        Self::with(prefix, KeyOverrides::default())
    }

    /// Names below `prefix`, except those that `overrides` names.
    pub fn with(prefix: &str, overrides: KeyOverrides) -> Self {
        let own = |rest: &str| format!("{prefix}:{rest}");
        let or = |set: Option<String>, rest: &str| set.unwrap_or_else(|| own(rest));
        Self {
            prefix: prefix.to_owned(),
            ingest_queue: or(overrides.ingest_queue, "ingest_queue"),
            alert_queue: or(overrides.alert_queue, "alert_queue"),
            processing_alerter: or(overrides.processing_alerter, "processing:alerter"),
            processing_moog: or(overrides.processing_moog, "processing:moog"),
            leases_alerter: own("leases:alerter"),
            leases_moog: own("leases:moog"),
            lease_state_alerter: own("leases:alerter:state"),
            lease_state_moog: own("leases:moog:state"),
            delayed_moog: own("delayed:moog"),
            refused_moog: own("refused:moog"),
            pause_moog: own("pause:moog"),
            heartbeat_alerter: or(overrides.heartbeat_alerter, "heartbeat:alerter"),
            heartbeat_moog: or(overrides.heartbeat_moog, "heartbeat:moog"),
            workers_alerter: own("workers:alerter"),
            workers_moog: own("workers:moog"),
            dlq_ingest: own("dlq:ingest"),
            dlq_alerter: or(overrides.dlq_alerter, "dlq:alerter"),
            dlq_moog: or(overrides.dlq_moog, "dlq:moog"),
            dlq_dead: own("dlq:dead"),
            totals: own("totals"),
            rate_limit_moog: or(overrides.rate_limit_moog, "rate_limit:moog"),
            circuit_breaker: own("circuit_breaker:moogsoft"),
            unhandled: or(overrides.unhandled, "unhandled"),
            metrics: or(overrides.metrics, "metrics"),
            rules_current: own("rules:current"),
            rules_sequence: own("rules:seq"),
            rules_ack: own("rules:ack"),
            settings: own("settings"),
        }
    }

    /// The list that a role takes from.
    pub fn queue(&self, role: Role) -> &str {
        match role {
            Role::Alerter => &self.ingest_queue,
            Role::Moog => &self.alert_queue,
        }
    }

    /// The prefix of a role's lists in flight.
    pub fn processing_prefix(&self, role: Role) -> &str {
        match role {
            Role::Alerter => &self.processing_alerter,
            Role::Moog => &self.processing_moog,
        }
    }

    /// The list of one batch in flight: `<prefix>:processing:<role>:<worker>:<batch>`.
    pub fn processing(&self, role: Role, worker: &WorkerId, batch: &BatchId) -> String {
        format!("{}:{worker}:{batch}", self.processing_prefix(role))
    }

    /// The sorted set of a role's leases.
    pub fn leases(&self, role: Role) -> &str {
        match role {
            Role::Alerter => &self.leases_alerter,
            Role::Moog => &self.leases_moog,
        }
    }

    /// The hash with the state of a role's leased batches.
    pub fn lease_state(&self, role: Role) -> &str {
        match role {
            Role::Alerter => &self.lease_state_alerter,
            Role::Moog => &self.lease_state_moog,
        }
    }

    /// A worker's heartbeat.
    pub fn heartbeat(&self, role: Role, worker: &WorkerId) -> String {
        let prefix = match role {
            Role::Alerter => &self.heartbeat_alerter,
            Role::Moog => &self.heartbeat_moog,
        };
        format!("{prefix}:{worker}")
    }

    /// The sorted set of a role's live workers.
    pub fn workers(&self, role: Role) -> &str {
        match role {
            Role::Alerter => &self.workers_alerter,
            Role::Moog => &self.workers_moog,
        }
    }

    /// The number of an ingestor's last push.
    pub fn commit(&self, worker: &WorkerId) -> String {
        format!("{}:commit:{worker}", self.prefix)
    }

    /// The answer to an Idempotency-Key; `hash` is the caller's digest of that key.
    pub fn idempotency(&self, hash: &str) -> String {
        format!("{}:idem:{hash}", self.prefix)
    }

    /// The counter of unhandled events of one host and signature.
    pub fn unhandled_counter(&self, host: &str, signature: &str) -> String {
        format!("{}:{host}:{signature}", self.unhandled)
    }

    /// One key of the shared circuit breaker.
    pub fn breaker(&self, part: &str) -> String {
        format!("{}:{part}", self.circuit_breaker)
    }

    /// One stored set of rules.
    pub fn rules_bundle(&self, revision: &str) -> String {
        format!("{}:rules:bundle:{revision}", self.prefix)
    }

    /// The two channels on which a change of rules is published, payload = revision.
    pub fn reload_channels(&self) -> [String; 2] {
        [format!("{}:cache-reload", self.prefix), "cache-reload".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_contract() {
        let keys = Keys::new("mutt");
        assert_eq!(keys.ingest_queue, "mutt:ingest_queue");
        assert_eq!(keys.leases(Role::Moog), "mutt:leases:moog");
        assert_eq!(keys.heartbeat(Role::Alerter, &WorkerId::named("pod-1")), "mutt:heartbeat:alerter:pod-1");
        assert_eq!(keys.unhandled_counter("sw1", "ab12"), "mutt:unhandled:sw1:ab12");
        let batch = BatchId::new();
        assert_eq!(
            keys.processing(Role::Alerter, &WorkerId::named("w"), &batch),
            format!("mutt:processing:alerter:w:{batch}")
        );
    }

    #[test]
    fn an_explicit_name_wins_over_the_prefix() {
        let overrides = KeyOverrides { ingest_queue: Some("q".into()), ..KeyOverrides::default() };
        let keys = Keys::with("{x}", overrides);
        assert_eq!(keys.ingest_queue, "q");
        assert_eq!(keys.alert_queue, "{x}:alert_queue");
    }
}
