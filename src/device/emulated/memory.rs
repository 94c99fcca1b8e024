//! Device memory of one arena. The host cannot touch it: it is readable and writable only while commands run.
use super::super::{Arena, Kernel, RED_ZONE, Span};
use super::{Emulated, POISON};
use crate::{Error, Result};
use memmap2::MmapOptions;
use rustix::mm::{MprotectFlags, mprotect};

pub struct Memory {
    device: Emulated,
    address: u64,
    /// What is mapped.
    bytes: usize,
    spans: Vec<Span>,
    open: bool,
}

impl Emulated {
    /// One that has the spans of this arena and nothing else.
    fn with(arena: &Arena) -> Result<Self> {
        let bytes = arena.bytes().max(RED_ZONE);
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon();
        let memory = map.map_err(|e| Error::failed(format!("{bytes} bytes of memory: {e}")))?;
        // The rights of huge pages change a thousand times faster; without any it works all the same.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        let mut device = Self::of(memory)?;
        let mut at = 0;
        for span in &arena.spans {
            device.extend(span.offset - at, 0)?;
            at = span.offset + span.bytes.next_multiple_of(RED_ZONE);
            device.extend(at - span.offset, span.bytes)?;
        }
        device.extend(bytes - at, 0)?;
        Ok(device)
    }
}

impl Memory {
    /// That of an arena, filled with 0xFF.
    pub fn new(arena: &Arena) -> Result<Self> {
        let device = Emulated::with(arena)?;
        let (address, bytes) = (device.memory.as_ptr() as u64, device.memory.len());
        let mut memory = Self { device, address, bytes, spans: arena.spans.clone(), open: true };
        memory.close()?;
        Ok(memory)
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        self.device.kernel(name)
    }

    /// Device address of byte 0.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes of the arena, as far as it has spans.
    pub fn used(&self) -> u64 {
        if self.spans.is_empty() { 0 } else { self.bytes as u64 }
    }

    /// The bytes at a device address, if they are part of one span.
    pub fn find(&self, address: u64, bytes: usize) -> Option<Span> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let before = self.spans.partition_point(|s| s.offset <= offset);
        let span = self.spans.get(before.checked_sub(1)?)?;
        let end = offset.checked_add(bytes)?;
        (end <= span.offset + span.bytes).then_some(Span { offset, bytes })
    }

    /// Refuses what is not part of one span.
    pub fn check(&self, what: &str, span: Span) -> Result<()> {
        let found = self.find(self.address.saturating_add(span.offset as u64), span.bytes);
        found.map(|_| ()).ok_or_else(|| {
            let Span { offset, bytes } = span;
            Error::refused(format!(
                "{what}: {bytes} bytes at {offset:#x} are not part of a span of the arena"
            ))
        })
    }

    /// For work on the device, until [`Memory::close`].
    pub fn open(&mut self) -> Result<&mut Emulated> {
        if !self.open {
            self.protect(MprotectFlags::READ | MprotectFlags::WRITE)?;
            self.open = true;
        }
        Ok(&mut self.device)
    }

    /// From now on a host that touches device memory dies of it.
    pub fn close(&mut self) -> Result<()> {
        if self.open {
            self.protect(MprotectFlags::empty())?;
            self.open = false;
        }
        Ok(())
    }

    fn protect(&mut self, flags: MprotectFlags) -> Result<()> {
        // SAFETY: these pages are the mapping that `self.device` owns, and nothing else lies on them. Whoever
        // reads or writes them as Rust memory has borrowed `device` through `open`; such a borrow ends before
        // `&mut self` can be had again.
        let done = unsafe { mprotect(self.address as *mut _, self.bytes, flags) };
        done.map_err(|e| Error::failed(format!("cannot protect {} bytes of device memory: {e}", self.bytes)))
    }
}

impl Emulated {
    /// Bytes of a span.
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        &self.memory[span.offset..][..span.bytes]
    }

    /// Bytes of a span.
    pub(super) fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.memory[span.offset..][..span.bytes]
    }

    /// What a computation that needs this memory for itself leaves in it.
    pub(super) fn poison(&mut self, span: Span) {
        self.bytes_mut(span).fill(POISON);
    }
}

#[cfg(all(test, emulated_kernels))]
mod tests {
    use super::*;

    #[test]
    fn writes_between_spans_are_found() {
        let mut arena = Arena::default();
        let (a, b) = (arena.add(1000), arena.add(256));
        let mut memory = Memory::new(&arena).unwrap();
        let outside = [1000, 1023, 1024, b.offset - 1, b.offset + 256, arena.bytes() - 1];
        for at in outside {
            let device = memory.open().unwrap();
            device.bytes_mut(a).fill(0);
            device.bytes_mut(b).fill(0);
            assert_eq!(device.red_zone_fault(), None);
            device.memory[at] = 0;
            let fault = device.red_zone_fault().unwrap();
            assert!(fault.ends_with(&format!("{at:#x}")), "{fault}");
            device.memory[at] = POISON;
            memory.close().unwrap();
        }
    }

    #[test]
    fn bytes_are_found_within_one_span() {
        let mut arena = Arena::default();
        let (a, b) = (arena.add(1000), arena.add(256));
        let memory = Memory::new(&arena).unwrap();
        let found = |offset: usize, bytes| memory.find(memory.address() + offset as u64, bytes).is_some();
        assert!(found(0, 1000) && found(999, 1) && found(b.offset, 256));
        assert!(
            !found(0, 1001) && !found(1000, 1) && !found(a.offset, arena.bytes()) && !found(5, usize::MAX)
        );
        assert!(memory.find(memory.address() - 1, 1).is_none() && memory.find(0, 1).is_none());
    }
}
