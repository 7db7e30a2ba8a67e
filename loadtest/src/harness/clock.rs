//! One clock for all processes of a measurement, and a timer finer than tokio's millisecond.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`: the same in every process of this machine.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * SECOND + part(time.tv_nsec)
}

/// A timer of the kernel (timerfd). What is due is told within some ten microseconds, so that latencies counted from
/// the due time hold the proxy's and not the timer's.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set_to: u64,
}

impl Alarm {
    /// A timer that is not set.
    #[expect(
        deprecated,
        reason = "an OwnedFd stays open as long as it is registered, and what replaces this is unsafe to call"
    )]
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        Ok(Self {
            timer: AsyncFd::new(timer)?,
            set_to: 0,
        })
    }

    /// Waits until the clock shows `due`, which is past at once.
    pub async fn wait(&mut self, due: u64) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_wait(context, due)).await
    }

    /// [`Alarm::wait`] for hand-written futures.
    pub fn poll_wait(&mut self, context: &mut Context<'_>, due: u64) -> Poll<io::Result<()>> {
        while now() < due {
            if self.set_to != due {
                self.set(due)?;
            }
            let mut ready = ready!(self.timer.poll_read_ready(context))?;
            let mut fired = [0; 8];
            // What is left in the timer wakes again at once, so only "not yet" counts as nothing.
            if rustix::io::read(self.timer.get_ref(), &mut fired).is_err() {
                ready.clear_ready();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn set(&mut self, due: u64) -> io::Result<()> {
        let part = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let at = Timespec {
            tv_sec: part(due / SECOND),
            tv_nsec: part(due % SECOND),
        };
        let spec = Itimerspec {
            it_interval: once,
            it_value: at,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
        self.set_to = due;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_is_never_early_and_can_be_used_again() {
        let mut alarm = Alarm::new().unwrap();
        for _ in 0..3 {
            let due = now() + 2_000_000;
            alarm.wait(due).await.unwrap();
            assert!(now() >= due);
        }
        alarm.wait(0).await.unwrap();
    }
}
