//! When things happen on the device: events on the stream that computes.
use super::Gpu;
use crate::Result;
use crate::ops::Timeline;

impl Gpu {
    /// Records the next event.
    pub(super) fn moment(&mut self) -> Option<usize> {
        if self.planning.is_some() || self.clock.capturing || self.error.is_some() {
            return None;
        }
        let index = self.clock.used;
        self.attempt(|gpu| {
            if index == gpu.clock.events.len() {
                let event = gpu.device.timer()?;
                gpu.clock.events.push(event);
            }
            gpu.device.record(gpu.clock.events[index], gpu.compute)
        });
        self.clock.used += 1;
        Some(index)
    }

    /// Issues one piece of work, noted under its name.
    pub(super) fn attempt_named(&mut self, name: &str, f: impl FnOnce(&mut Self) -> Result<()>) {
        if !self.clock.profiling {
            return self.attempt(f);
        }
        let first = self.moment();
        self.attempt(f);
        if let (Some(first), Some(last)) = (first, self.moment()) {
            self.clock.launches.push((name.to_owned(), [first, last]));
        }
    }

    /// Waits for the last event.
    pub(super) fn read_clock(&mut self) -> Result<Timeline> {
        self.checked()?;
        let used = std::mem::take(&mut self.clock.used);
        let launches = std::mem::take(&mut self.clock.launches);
        let Some(&last) = self.clock.events[..used].last() else { return Ok(Timeline::default()) };
        self.device.synchronize(last)?;
        let (device, events) = (&mut self.device, &self.clock.events);
        let moments = events[..used].iter().map(|&event| device.seconds_between(events[0], event));
        Ok(Timeline { moments: moments.collect::<Result<_>>()?, launches })
    }
}
