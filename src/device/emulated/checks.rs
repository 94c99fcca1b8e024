//! What the host must not ask of an emulated device.
use super::super::{Event, Pinned, Rows, Stream, SyncSite};
use super::EmulatedDevice;
use super::queue::Position;
use crate::{Error, Result};
use std::panic::Location;

impl EmulatedDevice {
    /// Whether the call counts.
    pub(super) fn reach(&mut self, what: &str, at: &Location<'_>) -> bool {
        let site = SyncSite { file: at.file().into(), line: at.line(), what: what.into() };
        let enabled = self.settings.disabled.as_ref() != Some(&site);
        self.sites.lock().expect("nobody panics while holding it").insert(site);
        enabled
    }

    /// Fails once the host has seen an error.
    pub(super) fn alive(&self) -> Result<()> {
        if self.reported { self.executor.check() } else { Ok(()) }
    }

    /// Its number.
    pub(super) fn find_stream(&self, on: Stream) -> Result<usize> {
        self.alive()?;
        if self.streams.contains(on.0) { Ok(on.0) } else { Err(Error::refused("a stream of another device")) }
    }

    /// When it was recorded last.
    pub(super) fn find_event(&self, event: Event) -> Result<Option<Position>> {
        self.alive()?;
        self.events.get(event.0).copied().ok_or_else(|| Error::refused("an event of another device"))
    }

    /// Refuses `what` while a stream is captured.
    pub(super) fn not_captured(&self, what: &str) -> Result<()> {
        self.alive()?;
        self.capture.is_none().then_some(()).ok_or_else(|| Error::refused(format!("{what} during capture")))
    }

    /// Refuses ordering of a stream that is captured: a graph is a sequence.
    pub(super) fn ordered(&self, on: usize, what: &str) -> Result<()> {
        if self.capture.as_ref().is_some_and(|c| c.0 == on) { self.not_captured(what) } else { Ok(()) }
    }

    /// Both ends of a copy.
    pub(super) fn check_copy(&self, what: &str, pinned: Pinned, at: usize, rows: Rows) -> Result<()> {
        self.executor.memory.check(what, rows.extent()?)?;
        let (bytes, host) = (rows.bytes(), self.executor.pinned.get(pinned.0).map_or(0, Vec::len));
        let fits = at.checked_add(bytes).is_some_and(|end| end <= host);
        fits.then_some(()).ok_or_else(|| {
            Error::refused(format!("{what}: {bytes} bytes at {at} of {host} bytes of pinned memory"))
        })
    }
}
