//! The time limit of request heads, without a new timer for every request.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use hyper::rt::{Sleep, Timer};

/// hyper's timer of one connection. It asks for a new sleep for every head it waits for and drops it when the head is
/// there; setting and clearing a timer of the runtime each time would cost more than parsing the head. So the
/// connection keeps one alarm, which goes on running for a head that has come and is set anew only when it rings.
#[derive(Clone, Default)]
pub(super) struct HeadTimer(Arc<Mutex<Option<Alarm>>>);

type Alarm = Pin<Box<tokio::time::Sleep>>;

impl Timer for HeadTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep { deadline, timer: self.clone() })
    }
}

/// Waits for one head; deadlines of one connection only grow.
struct HeadSleep {
    deadline: Instant,
    timer: HeadTimer,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let mut alarm = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        loop {
            ready!(alarm.as_mut().poll(context));
            if alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_later_sleep_outlasts_the_alarm_of_an_earlier_one() {
        let timer = HeadTimer::default();
        let start = Instant::now();
        let early = timer.sleep_until(start + Duration::from_millis(20));
        let _ = tokio::time::timeout(Duration::ZERO, early).await;
        let late = start + Duration::from_millis(60);
        timer.sleep_until(late).await;
        assert!(Instant::now() >= late);
        timer.sleep(Duration::from_millis(1)).await;
        assert!(Instant::now() >= late + Duration::from_millis(1));
    }
}
