//! What runs commands, one after the other, until the first that fails.
use super::super::{Arena, Counters, Mode, Span};
use super::memory::Memory;
use super::product;
use super::queue::Command;
use crate::{Error, Result};
use std::collections::HashMap;
use std::time::Instant;

/// Bytes at the start of the workspace that a product is sure to overwrite.
const SCRATCHED: usize = 64 << 10;

pub struct Executor {
    mode: Mode,
    pub memory: Memory,
    pub pinned: Vec<Vec<u8>>,
    /// Scratch memory of products, which each of them overwrites.
    pub workspace: Option<Span>,
    /// Kernels and products that ran.
    pub launches: u64,
    /// Of launches, while [`Mode::count`] is set.
    pub counters: Counters,
    /// When events that keep their time happened.
    pub stamps: HashMap<usize, Instant>,
    /// What the first command that failed said; none runs after it.
    pub failure: Option<String>,
}

impl Executor {
    /// An executor without memory yet.
    pub fn new(mode: Mode) -> Result<Self> {
        Ok(Self {
            mode,
            memory: Memory::new(&Arena::default())?,
            pinned: Vec::new(),
            workspace: None,
            launches: 0,
            counters: Counters::default(),
            stamps: HashMap::new(),
            failure: None,
        })
    }

    /// Runs a command, or not, after a failure. Device memory stays open until [`Executor::rest`].
    pub fn run(&mut self, command: &Command) {
        if self.failure.is_none()
            && let Err(e) = self.perform(command)
        {
            self.failure = Some(e.to_string());
        }
    }

    /// Nothing runs for now.
    pub fn rest(&mut self) -> Result<()> {
        self.memory.close()
    }

    /// The error of the first command that failed.
    pub fn check(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |why| Err(Error::failed(why)))
    }

    fn perform(&mut self, command: &Command) -> Result<()> {
        let base = self.memory.address();
        let device = self.memory.open()?;
        match command {
            Command::Launch(l) => {
                self.launches += 1;
                let counters =
                    device.launch(&l.kernel, l.grid, l.threads, l.shared_bytes, &l.args, &self.mode)?;
                if self.mode.count {
                    self.counters.add(&counters);
                }
            }
            Command::Gemm(g) => {
                self.launches += 1;
                product::run(device, base, g);
                if let Some(w) = self.workspace {
                    device.poison(w.part(0, w.bytes.min(SCRATCHED)));
                }
            }
            &Command::Upload(pinned, at, to) => {
                let mut host = &self.pinned[pinned][at..][..to.bytes()];
                for row in to.each() {
                    device.bytes_mut(row).copy_from_slice(host.split_off(..row.bytes).unwrap_or_default());
                }
            }
            &Command::Download(from, pinned, at) => {
                let mut host = &mut self.pinned[pinned][at..][..from.bytes()];
                for row in from.each() {
                    host.split_off_mut(..row.bytes).unwrap_or_default().copy_from_slice(device.bytes(row));
                }
            }
            &Command::Fill(span, value) => device.bytes_mut(span).fill(value),
            &Command::Stamp(event) => {
                self.stamps.insert(event, Instant::now());
            }
            Command::Wait(_) => (),
        }
        Ok(())
    }
}
