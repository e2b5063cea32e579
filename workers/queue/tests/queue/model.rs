//! Random interleavings of push, take, finish, crash, clock and janitor against a simple model:
//! nothing is lost, nothing happens twice, and owners, tries and poison are as the model says.
//! Time is moved by hand (the score of a lease), so no case ever waits.

use std::collections::{BTreeMap, VecDeque};

use mutt_queue::{Batch, BatchId, Finished, Lease, Leases, Outbox, Phase, TRIES_MAX, TakeLimits, Takeover};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{LIMITS, Pipeline, json, texts};

const WORKERS: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Push(u32),
    Take {
        worker: usize,
        count: usize,
        minimum: usize,
    },
    Retake {
        pick: usize,
    },
    Renew {
        pick: usize,
    },
    Phase {
        pick: usize,
        holding: bool,
    },
    Step {
        pick: usize,
        index: Option<usize>,
    },
    Finish {
        pick: usize,
        twice: bool,
    },
    StaleFinish {
        pick: usize,
    },
    HandBack {
        pick: usize,
    },
    Crash {
        worker: usize,
    },
    /// The lease of one batch lapses.
    Lapse {
        pick: usize,
    },
    /// All leases lapse.
    Clock,
    Janitor {
        worker: usize,
        count: usize,
        twice: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let worker = 0..WORKERS;
    let pick = 0..8usize;
    prop_oneof![
        3 => (1..12u32).prop_map(Op::Push),
        4 => (worker.clone(), 1..9usize, 0..6usize)
            .prop_map(|(worker, count, minimum)| Op::Take { worker, count, minimum }),
        1 => pick.clone().prop_map(|pick| Op::Retake { pick }),
        1 => pick.clone().prop_map(|pick| Op::Renew { pick }),
        1 => (pick.clone(), any::<bool>()).prop_map(|(pick, holding)| Op::Phase { pick, holding }),
        1 => (pick.clone(), prop::option::of(0..4usize)).prop_map(|(pick, index)| Op::Step { pick, index }),
        3 => (pick.clone(), any::<bool>()).prop_map(|(pick, twice)| Op::Finish { pick, twice }),
        1 => pick.clone().prop_map(|pick| Op::StaleFinish { pick }),
        1 => pick.clone().prop_map(|pick| Op::HandBack { pick }),
        1 => worker.clone().prop_map(|worker| Op::Crash { worker }),
        2 => pick.prop_map(|pick| Op::Lapse { pick }),
        1 => Just(Op::Clock),
        3 => (worker, 1..4usize, any::<bool>())
            .prop_map(|(worker, count, twice)| Op::Janitor { worker, count, twice }),
    ]
}

/// What the model knows of one leased batch.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    worker: usize,
    /// The worker has crashed or given it up; only a janitor goes on.
    forgotten: bool,
    lapsed: bool,
    holding: bool,
    step: Option<usize>,
    tries: u32,
    poisoned: Vec<usize>,
    elements: Vec<String>,
}

#[derive(Default)]
struct Model {
    next_event: u32,
    queue: VecDeque<String>,
    held: BTreeMap<BatchId, Held>,
    /// Leases that ended in one way or another, with what their owner would have finished.
    stale: Vec<(Lease, Vec<String>)>,
    alerts: Vec<String>,
    dead: Vec<String>,
}

struct World {
    pipeline: Pipeline,
    workers: Vec<Leases>,
    model: Model,
}

/// Multiples of seven are dead letters, as is what the janitor named.
fn outbox(elements: &[String], poisoned: &[usize]) -> (Outbox, Vec<String>, Vec<String>) {
    let is_dead =
        |index: usize, text: &String| poisoned.contains(&index) || text.parse::<u32>().unwrap().is_multiple_of(7);
    let (mut alerts, mut dead) = (Vec::new(), Vec::new());
    for (index, text) in elements.iter().enumerate() {
        if is_dead(index, text) { dead.push(text.clone()) } else { alerts.push(text.clone()) }
    }
    let outbox = Outbox {
        events: elements.len() as u64,
        alerts: alerts.iter().map(|text| json(text)).collect(),
        dead_letters: dead.iter().map(|text| json(text)).collect(),
        ..Outbox::default()
    };
    (outbox, alerts, dead)
}

impl World {
    async fn apply(&mut self, op: &Op) {
        match *op {
            Op::Push(count) => {
                let (from, to) = (self.model.next_event, self.model.next_event + count);
                self.pipeline.accept(from, to).await;
                self.model.queue.extend((from..to).map(|n| n.to_string()));
                self.model.next_event = to;
            }
            Op::Take { worker, count, minimum } => self.take(worker, count, minimum).await,
            Op::Retake { pick } => self.retake(pick).await,
            Op::Finish { pick, twice } => self.finish(pick, twice).await,
            Op::StaleFinish { pick } => self.stale_finish(pick).await,
            Op::Crash { worker } => {
                for held in self.model.held.values_mut().filter(|held| held.worker == worker) {
                    held.forgotten = true;
                }
            }
            Op::Lapse { pick } => {
                if let Some(id) = self.pick(pick, false) {
                    self.lapse(id).await;
                }
            }
            Op::Clock => {
                for id in self.model.held.keys().copied().collect::<Vec<_>>() {
                    self.lapse(id).await;
                }
            }
            Op::Janitor { worker, count, twice } => self.janitor(worker, count, twice).await,
            Op::Renew { pick } | Op::Phase { pick, .. } | Op::Step { pick, .. } | Op::HandBack { pick } => {
                self.touch(op, pick).await;
            }
        }
    }

    /// Some batch; `active` = only one whose worker still knows of it.
    fn pick(&self, pick: usize, active: bool) -> Option<BatchId> {
        let ids: Vec<_> = self.model.held.iter().filter(|(_, h)| !(active && h.forgotten)).map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| ids[pick % ids.len()])
    }

    async fn take(&mut self, worker: usize, count: usize, minimum: usize) {
        let id = BatchId::new();
        let limits = TakeLimits { count_max: count, count_min: minimum, ..TakeLimits::default() };
        let taken = self.workers[worker].take(id, limits).await.unwrap();
        let model = &mut self.model;
        if model.queue.is_empty() || model.queue.len() < minimum {
            assert_eq!((taken.batch, taken.depth), (None, model.queue.len() as u64));
            return;
        }
        let expected: Vec<String> = model.queue.drain(..count.min(model.queue.len())).collect();
        let batch = taken.batch.unwrap();
        assert_eq!((texts(&batch), taken.depth), (expected, model.queue.len() as u64));
        self.hold(worker, &batch, 0, vec![]);
    }

    fn hold(&mut self, worker: usize, batch: &Batch, tries: u32, poisoned: Vec<usize>) {
        let held = Held {
            elements: texts(batch),
            lease: batch.lease.clone(),
            worker,
            forgotten: false,
            lapsed: false,
            holding: false,
            step: None,
            tries,
            poisoned,
        };
        self.model.held.insert(batch.lease.batch, held);
    }

    async fn retake(&mut self, pick: usize) {
        let Some(id) = self.pick(pick, true) else { return };
        let held = &self.model.held[&id];
        let again = self.workers[held.worker].retake(id).await.unwrap().batch;
        let expected = (held.lease.fence.0 == 1).then(|| held.elements.clone());
        assert_eq!(again.map(|batch| texts(&batch)), expected, "only the first owner took it");
    }

    async fn touch(&mut self, op: &Op, pick: usize) {
        let Some(id) = self.pick(pick, true) else { return };
        let held = self.model.held.get_mut(&id).unwrap();
        let leases = &self.workers[held.worker];
        match *op {
            Op::Renew { .. } => {
                assert_eq!(leases.renew(std::slice::from_ref(&held.lease)).await.unwrap(), [true]);
                held.lapsed = false;
            }
            Op::Phase { holding, .. } => {
                let phase = if holding { Phase::Holding } else { Phase::Matching };
                assert!(leases.set_phase(&held.lease, phase).await.unwrap());
                (held.holding, held.step, held.lapsed) = (holding, None, false);
            }
            Op::Step { index, .. } => {
                let step = index.map(|index| index % held.elements.len());
                assert!(leases.set_step(&held.lease, step).await.unwrap());
                (held.holding, held.step, held.lapsed) = (false, step, false);
            }
            Op::HandBack { .. } => {
                assert!(leases.hand_back(&held.lease).await.unwrap());
                (held.holding, held.step, held.lapsed, held.forgotten) = (true, None, true, true);
            }
            _ => unreachable!(),
        }
    }

    async fn finish(&mut self, pick: usize, twice: bool) {
        let Some(id) = self.pick(pick, true) else { return };
        let held = self.model.held.remove(&id).unwrap();
        let (outbox, alerts, dead) = outbox(&held.elements, &held.poisoned);
        let leases = &self.workers[held.worker];
        let done = leases.finish(&held.lease, &outbox, LIMITS, &BTreeMap::new()).await.unwrap();
        self.model.alerts.extend(alerts);
        self.model.dead.extend(dead);
        let depth = self.model.alerts.len() as u64;
        assert_eq!(done, Finished::Done { alert_depth: depth, meta_alerts: 0 });
        if twice {
            let again = leases.finish(&held.lease, &outbox, LIMITS, &BTreeMap::new()).await.unwrap();
            assert_eq!(again, Finished::AlreadyDone);
        }
        self.model.stale.push((held.lease, held.elements));
    }

    async fn stale_finish(&mut self, pick: usize) {
        if self.model.stale.is_empty() {
            return;
        }
        let (lease, elements) = &self.model.stale[pick % self.model.stale.len()];
        let answer = self.workers[0].finish(lease, &outbox(elements, &[]).0, LIMITS, &BTreeMap::new()).await.unwrap();
        let expected =
            if self.model.held.contains_key(&lease.batch) { Finished::LostLease } else { Finished::AlreadyDone };
        assert_eq!(answer, expected);
    }

    async fn lapse(&mut self, id: BatchId) {
        let held = self.model.held.get_mut(&id).unwrap();
        self.pipeline.lapse(&held.lease).await;
        held.lapsed = true;
    }

    async fn janitor(&mut self, worker: usize, count: usize, twice: bool) {
        let lapsed = self.workers[worker].lapsed(count).await.unwrap();
        let expected = self.model.held.values().filter(|held| held.lapsed).count();
        assert_eq!(lapsed.len(), expected.min(count));
        for lease in lapsed {
            let answer = self.workers[worker].take_over(&lease).await.unwrap();
            if twice {
                assert_eq!(self.workers[worker].take_over(&lease).await.unwrap(), answer);
                let other = &self.workers[(worker + 1) % WORKERS];
                assert_eq!(other.take_over(&lease).await.unwrap(), Takeover::NotOurs);
            }
            let Takeover::Ours(recovered) = answer else { panic!("{answer:?}") };
            let was = self.model.held.remove(&lease.batch).unwrap();
            assert!(was.lapsed, "{was:?}");
            let mut poisoned = was.poisoned;
            let tries = was.tries + u32::from(!was.holding);
            if let (false, Some(step)) = (was.holding, was.step) {
                poisoned.push(step);
            }
            assert_eq!((recovered.tries, &recovered.poisoned), (tries, &poisoned));
            assert_eq!(recovered.single_step(), tries >= TRIES_MAX);
            assert_eq!(texts(&recovered.batch), was.elements);
            assert_eq!(recovered.batch.lease.fence, was.lease.fence.next());
            self.model.stale.push((was.lease, was.elements));
            self.hold(worker, &recovered.batch, tries, poisoned);
        }
    }

    async fn check(&self) {
        let (seen, model) = (self.pipeline.totals().await, &self.model);
        let in_flight: usize = model.held.values().map(|held| held.elements.len()).sum();
        assert_eq!((seen.gap_events(), seen.gap_alerts()), (0, 0), "{seen:?}");
        assert_eq!((seen.ingest_queue, seen.in_flight), (model.queue.len() as i64, in_flight as i64));
        assert_eq!((seen.alert_queue, seen.dlq_alerter), (model.alerts.len() as i64, model.dead.len() as i64));
    }

    /// All that is left is recovered and finished; then each event is somewhere exactly once.
    async fn drain(&mut self) {
        self.apply(&Op::Clock).await;
        self.apply(&Op::Janitor { worker: 0, count: 1000, twice: false }).await;
        while !self.model.queue.is_empty() {
            self.take(0, 100, 0).await;
        }
        while !self.model.held.is_empty() {
            self.finish(0, false).await;
        }
        let keys = &self.pipeline.keys;
        let mut ends = self.pipeline.list(&keys.alert_queue).await;
        assert_eq!(ends, self.model.alerts);
        ends.extend(self.pipeline.list(&keys.dlq_alerter).await);
        let mut numbers: Vec<u32> = ends.iter().map(|text| text.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..self.model.next_event).collect::<Vec<_>>());
        self.check().await;
    }
}

async fn run(ops: &[Op]) {
    let pipeline = Pipeline::fresh().await;
    let workers = (0..WORKERS).map(|n| pipeline.alerter(&format!("worker-{n}"))).collect();
    let mut world = World { pipeline, workers, model: Model::default() };
    for op in ops {
        world.apply(op).await;
        world.check().await;
    }
    world.drain().await;
    // Prefixes of many cases would slow nothing, but the server's memory is the machine's.
    let pattern = format!("{}:*", world.pipeline.keys.prefix);
    let left: Vec<String> = world.pipeline.redis.query(crate::support::redis_cmd(&["KEYS", &pattern])).await.unwrap();
    if left.is_empty() {
        return;
    }
    let mut unlink = mutt_queue::redis::cmd("UNLINK");
    unlink.arg(&left);
    let _: i64 = world.pipeline.redis.query(&unlink).await.unwrap();
}

#[test]
fn random_interleavings_lose_nothing_and_repeat_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 128, max_shrink_iters: 500, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&prop::collection::vec(op(), 1..60), |ops| {
        runtime.block_on(run(&ops));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
