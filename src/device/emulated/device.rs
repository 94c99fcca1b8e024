//! The emulated device as the `gpu` backend sees it: streams that run when the settings say, memory that the host
//! cannot reach, and calls for ordering that can be left out one by one.
use super::super::gemm::SEPARATE;
use super::super::{
    Arena, Counters, Device, Event, Gemm, GemmShape, Graph, Kernel, Launch, Pinned, Rows, Span, Stream,
    SyncSite,
};
use super::executor::Executor;
use super::memory::Memory;
use super::queue::{Command, Position, Streams};
use super::seen::Seen;
use super::{Emulated, EmulatedSettings, POISON, product};
use crate::machine;
use crate::ops::GemmChoices;
use crate::{Error, Result};
use std::collections::{BTreeSet, HashSet};
use std::panic::Location;
use std::sync::{Arc, Mutex};

/// Where choices of every emulated device apply.
const PLACE: &str = "emulated";
/// The choice where a product uses its epilogue.
const EPILOGUE: &str = "epilogue";

/// A device of this process, for tests. Commands run inside calls of its methods, one at a time.
///
/// The first command that fails (a kernel at fault, a write between the spans of the arena) ends all work: nothing
/// runs after it, and [`Device::synchronize`] returns its error; once it has, so does everything else.
pub struct EmulatedDevice {
    pub(super) settings: EmulatedSettings,
    pub(super) executor: Executor,
    pub(super) streams: Streams,
    seen: Seen,
    pub(super) events: Vec<Option<Position>>,
    /// Those that keep their time.
    timers: HashSet<Event>,
    graphs: Vec<Vec<Arc<Command>>>,
    /// The stream, and what was noted.
    pub(super) capture: Option<(usize, Vec<Arc<Command>>)>,
    planned: HashSet<GemmShape>,
    /// Whether epilogues are used: what was chosen here or adopted.
    choices: GemmChoices,
    pub(super) sites: Arc<Mutex<BTreeSet<SyncSite>>>,
    /// The host has seen the error of the first command that failed.
    pub(super) reported: bool,
}

impl EmulatedDevice {
    /// One without memory, or why there is none in this build.
    pub fn new(settings: EmulatedSettings) -> Result<Self> {
        Ok(Self {
            executor: Executor::new(settings.mode.clone())?,
            streams: Streams::new(settings.streams),
            seen: Seen::default(),
            events: Vec::new(),
            timers: HashSet::new(),
            graphs: Vec::new(),
            capture: None,
            planned: HashSet::new(),
            choices: GemmChoices::default(),
            sites: Arc::default(),
            reported: false,
            settings,
        })
    }

    /// Calls of `record`, `wait` and `synchronize`, as they come: for whoever gives the device away. The place is that
    /// of the caller: a helper of the host must be `#[track_caller]` to be told apart by its own callers.
    pub fn sites(&self) -> Arc<Mutex<BTreeSet<SyncSite>>> {
        self.sites.clone()
    }

    /// What launches counted, with [`Mode::count`](crate::device::Mode::count).
    pub fn counters(&self) -> &Counters {
        &self.executor.counters
    }

    fn give(&mut self, on: usize, command: Command) -> Result<()> {
        let command = Arc::new(command);
        match &mut self.capture {
            Some((stream, commands)) if *stream == on => {
                commands.push(command);
                Ok(())
            }
            _ => {
                self.streams.push(on, command);
                self.seen.give(on, 1);
                self.advance()
            }
        }
    }

    fn advance(&mut self) -> Result<()> {
        self.streams.advance(&mut |c| self.executor.run(c));
        self.executor.rest()
    }
}

impl Device for EmulatedDevice {
    fn name(&self) -> String {
        format!("emulated ({})", self.settings.mode.capability)
    }

    fn shared_bytes(&self) -> usize {
        self.settings.mode.capability.shared_bytes()
    }

    fn memory(&self) -> Result<[u64; 2]> {
        if let Some(total) = self.settings.memory_bytes {
            return Ok([total.saturating_sub(self.executor.memory.used()), total]);
        }
        let (total, available) = machine::memory();
        let unknown = || Error::failed("cannot tell how much memory this machine has");
        Ok([available.ok_or_else(unknown)?, total.ok_or_else(unknown)?])
    }

    fn kernel(&self, name: &str) -> Result<Kernel> {
        self.not_captured("looking up a kernel")?;
        self.executor.memory.kernel(name)
    }

    fn allocate(&mut self, arena: &Arena) -> Result<()> {
        self.not_captured("allocation")?;
        if self.executor.memory.used() > 0 {
            return Err(Error::refused("device memory is allocated once"));
        }
        let [free, total] = self.memory()?;
        let needed = arena.bytes() as u64;
        if needed > free {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            return Err(Error::refused(format!(
                "{}: {:.1} MiB of device memory are needed, {:.1} of {:.1} MiB are free: {:.1} MiB too few",
                self.name(),
                mib(needed),
                mib(free),
                mib(total),
                mib(needed - free),
            )));
        }
        self.executor.memory = Memory::new(arena)?;
        Ok(())
    }

    fn address(&self, offset: usize) -> u64 {
        self.executor.memory.address() + offset as u64
    }

    fn stream(&mut self) -> Result<Stream> {
        self.not_captured("a new stream")?;
        self.seen.add_stream();
        Ok(Stream(self.streams.add()))
    }

    fn event(&mut self) -> Result<Event> {
        self.not_captured("a new event")?;
        self.events.push(None);
        Ok(Event(self.events.len() - 1))
    }

    fn timer(&mut self) -> Result<Event> {
        let event = self.event()?;
        self.timers.insert(event);
        Ok(event)
    }

    fn seconds_between(&mut self, first: Event, last: Event) -> Result<f64> {
        self.not_captured("asking for a time")?;
        let stamp = |event: Event| {
            let never = || Error::refused("an event that has not happened, or that does not keep its time");
            self.executor.stamps.get(&event.0).copied().ok_or_else(never)
        };
        let (first, last) = (stamp(first)?, stamp(last)?);
        Ok(last.saturating_duration_since(first).as_secs_f64())
    }

    fn pinned(&mut self, bytes: usize) -> Result<Pinned> {
        self.not_captured("allocation")?;
        self.executor.pinned.push(vec![POISON; bytes]);
        Ok(Pinned(self.executor.pinned.len() - 1))
    }

    fn host(&mut self, pinned: Pinned) -> &mut [u8] {
        &mut self.executor.pinned[pinned.0]
    }

    fn launch(&mut self, on: Stream, launch: Launch) -> Result<()> {
        let on = self.find_stream(on)?;
        let Launch { kernel, grid, threads, shared_bytes, args } = &launch;
        Emulated::check(kernel, *grid, *threads, *shared_bytes, args, &self.settings.mode)?;
        self.give(on, Command::Launch(launch))
    }

    fn set_workspace(&mut self, workspace: Span) {
        self.executor.workspace = Some(workspace);
    }

    fn plan(&mut self, shape: &GemmShape, operands: Span) -> Result<()> {
        self.not_captured("planning a product")?;
        product::check_shape(shape)?;
        self.planned.insert(*shape);
        if operands.bytes < shape.operand_bytes() {
            return Ok(());
        }
        // A GPU would time candidates beside that work, on memory that it uses.
        if let Some(stream) = self.seen.busy() {
            return Err(Error::refused(format!(
                "planning product {shape} while the host has not waited for all work on stream {stream}"
            )));
        }
        let device = self.executor.memory.open()?;
        device.poison(operands);
        if let Some(workspace) = self.executor.workspace {
            device.poison(workspace);
        }
        self.executor.rest()
    }

    fn plan_epilogue(&mut self, shape: &GemmShape, operands: Span, instead: Launch) -> Result<bool> {
        let Launch { kernel, grid, threads, shared_bytes, args } = &instead;
        Emulated::check(kernel, *grid, *threads, *shared_bytes, args, &self.settings.mode)?;
        let name = shape.to_string();
        let chosen = self.choices.algorithms.get(&name).map(|choice| choice != SEPARATE);
        let used = chosen.unwrap_or(self.settings.epilogues && operands.bytes >= shape.operand_bytes());
        // Without the setting there is nothing to choose.
        if self.settings.epilogues && chosen.is_none() {
            let choice = if used { EPILOGUE } else { SEPARATE };
            self.choices.device = PLACE.into();
            self.choices.algorithms.insert(name, choice.into());
        }
        self.plan(&if used { *shape } else { shape.plain() }, operands)?;
        Ok(used)
    }

    fn choices(&self) -> GemmChoices {
        self.choices.clone()
    }

    fn adopt(&mut self, choices: &GemmChoices) -> Result<()> {
        if *choices == GemmChoices::default() {
            return Ok(());
        }
        if choices.device != PLACE {
            return Err(Error::NotReproducible(format!(
                "matrix products were chosen on {:?}; {} has other ones",
                choices.device,
                self.name()
            )));
        }
        self.choices = choices.clone();
        Ok(())
    }

    fn gemm(&mut self, on: Stream, gemm: Gemm) -> Result<()> {
        let on = self.find_stream(on)?;
        product::check(&self.executor.memory, &gemm)?;
        if !self.planned.contains(&gemm.shape) {
            return Err(Error::refused(format!("product {}: not planned", gemm.shape)));
        }
        if let Some(workspace) = self.executor.workspace {
            self.executor.memory.check("workspace", workspace)?;
        }
        self.give(on, Command::Gemm(gemm))
    }

    fn upload(&mut self, on: Stream, from: Pinned, at: usize, to: Span) -> Result<()> {
        self.upload_rows(on, from, at, to.into())
    }

    fn download(&mut self, on: Stream, from: Span, to: Pinned, at: usize) -> Result<()> {
        self.download_rows(on, from.into(), to, at)
    }

    fn upload_rows(&mut self, on: Stream, from: Pinned, at: usize, to: Rows) -> Result<()> {
        let on = self.find_stream(on)?;
        self.check_copy("upload", from, at, to)?;
        self.give(on, Command::Upload(from.0, at, to))
    }

    fn download_rows(&mut self, on: Stream, from: Rows, to: Pinned, at: usize) -> Result<()> {
        let on = self.find_stream(on)?;
        self.check_copy("download", to, at, from)?;
        self.give(on, Command::Download(from, to.0, at))
    }

    fn fill(&mut self, on: Stream, span: Span, value: u8) -> Result<()> {
        let on = self.find_stream(on)?;
        self.executor.memory.check("fill", span)?;
        self.give(on, Command::Fill(span, value))
    }

    fn record(&mut self, event: Event, on: Stream) -> Result<()> {
        let enabled = self.reach("record", Location::caller());
        let on = self.find_stream(on)?;
        self.find_event(event)?;
        self.ordered(on, "recording an event")?;
        if enabled {
            if self.timers.contains(&event) {
                self.give(on, Command::Stamp(event.0))?;
            }
            self.events[event.0] = Some(self.streams.position(on));
            self.seen.record(event, on);
        }
        Ok(())
    }

    fn wait(&mut self, on: Stream, event: Event) -> Result<()> {
        let enabled = self.reach("wait", Location::caller());
        let on = self.find_stream(on)?;
        let recorded = self.find_event(event)?;
        self.ordered(on, "waiting for an event")?;
        match recorded {
            Some(position) if enabled => {
                self.seen.wait(on, event);
                self.give(on, Command::Wait(position))
            }
            _ => Ok(()),
        }
    }

    fn synchronize(&mut self, event: Event) -> Result<()> {
        let enabled = self.reach("synchronize", Location::caller());
        self.not_captured("synchronising")?;
        let recorded = self.find_event(event)?;
        if !enabled {
            return Ok(());
        }
        if let Some(position) = recorded {
            self.streams.force(position, &mut |c| self.executor.run(c));
            self.seen.synchronize(event);
            self.advance()?;
        }
        self.reported = self.executor.failure.is_some();
        self.executor.check()
    }

    fn begin_capture(&mut self, on: Stream) -> Result<()> {
        let on = self.find_stream(on)?;
        self.not_captured("another capture")?;
        self.capture = Some((on, Vec::new()));
        Ok(())
    }

    fn end_capture(&mut self, on: Stream) -> Result<Graph> {
        let on = self.find_stream(on)?;
        match self.capture.take_if(|c| c.0 == on) {
            Some((_, commands)) => {
                self.graphs.push(commands);
                Ok(Graph(self.graphs.len() - 1))
            }
            None => Err(Error::refused("the stream is not captured")),
        }
    }

    fn replay(&mut self, on: Stream, graph: Graph) -> Result<()> {
        let on = self.find_stream(on)?;
        self.not_captured("replaying a graph")?;
        let commands = self.graphs.get(graph.0).ok_or_else(|| Error::refused("a graph of another device"))?;
        commands.iter().for_each(|c| self.streams.push(on, c.clone()));
        self.seen.give(on, commands.len());
        self.advance()
    }

    fn launches(&self) -> u64 {
        self.executor.launches
    }
}
