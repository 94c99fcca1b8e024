//! Runs a program of launches in every mode, counts it, and removes its synchronisation calls one by one.
use bytemuck::Pod;
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer, Capability, Counters, Emulated, Mode, Order, Timing, WarpOrder};
use rewarm::selftest::launch::{Input, Program};
use std::fmt::Write;

/// One run on a fresh device. A program uploads its inputs, launches, and declares its outputs with
/// [`Run::output`]; everything it allocates is poisoned first. It asserts nothing (it also runs with parts
/// removed): what it returns is judged outside.
pub struct Run {
    /// The device, for what the helpers do not cover.
    pub device: Emulated,
    mode: Mode,
    counters: Counters,
    outputs: Outputs,
}

/// What a program left, by name.
#[derive(Clone, Debug, Default)]
pub struct Outputs(Vec<(&'static str, Values, Vec<u8>)>);

type Values = Vec<f32>;

/// Names of a program's buffers.
const BUFFERS: [&str; 8] =
    ["buffer 0", "buffer 1", "buffer 2", "buffer 3", "buffer 4", "buffer 5", "buffer 6", "buffer 7"];

impl Outputs {
    fn find(&self, name: &str) -> &(&'static str, Values, Vec<u8>) {
        self.0.iter().find(|o| o.0 == name).unwrap_or_else(|| panic!("no output {name}"))
    }

    /// The values of an output, as f32.
    pub fn get(&self, name: &str) -> &[f32] {
        &self.find(name).1
    }

    /// The values of an output as they were stored.
    pub fn exact<T: Pod>(&self, name: &str) -> Vec<T> {
        let bytes = &self.find(name).2;
        let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>()];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(bytes);
        values
    }

    /// The bytes of every output.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|output| output.2.clone()).collect()
    }

    /// Where the bits of two runs differ first.
    fn difference(&self, other: &Self) -> Option<String> {
        for ((name, _, a), (_, _, b)) in self.0.iter().zip(&other.0) {
            if let Some(i) = a.iter().zip(b).position(|(a, b)| a != b) {
                return Some(format!("{name} differs from byte {i} on"));
            }
        }
        (self.0.len() != other.0.len()).then(|| "numbers of outputs differ".into())
    }
}

/// An element that tests read as f32.
pub trait Element: Pod {
    /// Exact where f32 can hold it.
    fn to_f32(self) -> f32;
}
macro_rules! element {
    ($($t:ty: |$x:ident| $f:expr),*) => {
        $(impl Element for $t {
            fn to_f32(self) -> f32 {
                let $x = self;
                $f
            }
        })*
    };
}
element!(f32: |x| x, bf16: |x| x.to_f32(), i32: |x| x as f32, u32: |x| x as f32);

impl Run {
    fn new(mode: &Mode) -> Result<Self> {
        let (counters, outputs) = Default::default();
        Ok(Self { device: Emulated::new()?, mode: mode.clone(), counters, outputs })
    }

    /// The rest of the program runs on this GPU, not on the smallest.
    pub fn on(&mut self, capability: Capability) {
        self.mode.capability = capability;
    }

    /// A buffer of f32, i32, u32...
    pub fn upload<T: Pod>(&mut self, values: &[T]) -> Buffer<T> {
        self.device.upload(values).unwrap()
    }

    /// A buffer of bf16, each value rounded once ([`bf16s`] does the same to the reference's input).
    pub fn upload_bf16(&mut self, values: &[f32]) -> Buffer<bf16> {
        let values: Vec<_> = values.iter().map(|&x| bf16::from_f32(x)).collect();
        self.device.upload(&values).unwrap()
    }

    /// A buffer of poison.
    pub fn poisoned<T: Pod>(&mut self, len: usize) -> Buffer<T> {
        self.device.alloc(len).unwrap()
    }

    /// Launches `kernel` on `grid` blocks of `threads` threads with `smem` bytes of shared memory.
    pub fn launch(
        &mut self,
        kernel: &str,
        grid: [usize; 3],
        threads: usize,
        smem: usize,
        args: &[Arg],
    ) -> Result<Counters> {
        check_resources(kernel, threads, smem);
        let kernel = self.device.kernel(kernel)?;
        let grid = grid.map(|n| u32::try_from(n).unwrap());
        let counters = self.device.launch(&kernel, grid, threads as u32, smem, args, &self.mode)?;
        self.counters.add(&counters);
        Ok(counters)
    }

    /// A launch of the self-test. Every buffer is an output, so that what it may not write is compared too.
    pub fn program(&mut self, program: &Program) -> Result<()> {
        let (mut args, mut buffers) = (Vec::new(), Vec::new());
        let mut keep = |buffer: Buffer<u8>| {
            buffers.push(buffer);
            buffer.arg()
        };
        for input in &program.inputs {
            args.push(match *input {
                Input::Given(ref bytes) => keep(self.upload(bytes)),
                Input::Poison(bytes) => keep(self.poisoned(bytes)),
                Input::Int(x) => x.into(),
                Input::Long(x) => x.into(),
                Input::Float(x) => x.into(),
                Input::Struct(x) => Arg::bytes(&x),
                Input::Null => Arg::address(0),
            });
        }
        let grid = program.grid.map(|n| n as usize);
        self.launch(program.kernel, grid, program.threads as usize, program.shared_bytes, &args)?;
        for (name, buffer) in BUFFERS.into_iter().zip(&buffers) {
            self.outputs.0.push((name, Vec::new(), self.device.read(buffer)));
        }
        Ok(())
    }

    /// What is judged and compared between modes, bit for bit.
    pub fn output<T: Element>(&mut self, name: &'static str, buffer: &Buffer<T>) {
        let values = self.device.read(buffer);
        let floats = values.iter().map(|x| x.to_f32()).collect();
        self.outputs.0.push((name, floats, bytemuck::cast_slice(&values).to_vec()));
    }
}

/// The table that occupancy is computed from must not understate a launch.
fn check_resources(kernel: &str, threads: usize, smem: usize) {
    if kernel == "selfcheck_sanitize" {
        return; // nvcc does not see it
    }
    let table = include_str!("../../kernels/RESOURCES.md");
    let row = table.lines().find(|line| line.starts_with(&format!("| `{kernel}` | ")));
    let row = row.unwrap_or_else(|| panic!("kernels/RESOURCES.md has no row {kernel}"));
    let stated: Vec<usize> =
        row.split(" | ").skip(1).take(2).map(|cell| cell.replace(',', "").parse().unwrap()).collect();
    assert!(
        threads <= stated[0] && smem <= stated[1],
        "kernels/RESOURCES.md states {stated:?} for {kernel}, launched with [{threads}, {smem}]"
    );
}

/// Runs the program in one mode.
pub fn once(mode: &Mode, program: impl Fn(&mut Run) -> Result<()>) -> Result<(Outputs, Counters)> {
    let mut run = Run::new(mode)?;
    program(&mut run)?;
    Ok((run.outputs, run.counters))
}

/// Runs it in all six modes, which must leave the same bits.
pub fn every_mode(program: impl Fn(&mut Run) -> Result<()>) -> Outputs {
    same_bits(Mode::all(), program)
}

/// Every schedule × timing × order of blocks × one and two OS threads, each of the 36 runs with a seed of its own:
/// all must leave the same bits. [`every_mode`] varies the order and the threads along with the rest, as suits
/// shapes that are too large for this one.
pub fn deterministic(program: impl Fn(&mut Run) -> Result<()>) {
    same_bits(every_setting(), program);
}

fn every_setting() -> Vec<Mode> {
    let mut modes = Vec::new();
    for schedule in [WarpOrder::Forward, WarpOrder::Reverse, WarpOrder::Random] {
        for timing in [Timing::Eager, Timing::Lazy] {
            for order in [Order::Forward, Order::Reverse, Order::Shuffled] {
                for os_threads in [1, 2] {
                    let seed = modes.len() as u64;
                    modes.push(Mode { schedule, timing, order, os_threads, seed, ..Mode::default() });
                }
            }
        }
    }
    modes
}

fn same_bits(modes: Vec<Mode>, program: impl Fn(&mut Run) -> Result<()>) -> Outputs {
    let mut first: Option<Outputs> = None;
    for mode in modes {
        let (outputs, _) = once(&mode, &program).unwrap_or_else(|e| panic!("{mode:?}: {e}"));
        match &first {
            None => first = Some(outputs),
            Some(first) => assert_eq!(first.difference(&outputs), None, "{mode:?}"),
        }
    }
    first.unwrap()
}

/// Traffic, FLOPs and bank conflicts of all its launches.
pub fn count(program: impl Fn(&mut Run) -> Result<()>) -> Counters {
    once(&Mode { count: true, ..Mode::default() }, program).unwrap().1
}

/// Removes each synchronisation call that the program reaches in turn: at least one mode must notice, by a fault
/// or by other bits than those of [`every_mode`], which the caller has judged. Choose a program as small as shows
/// all: it runs up to six times per call. `exempt` are (line's file, primitive) pairs with their reason in the
/// caller; at most 5 in the whole project. Returns the score for the record.
pub fn mutations(name: &str, exempt: &[(&str, &str)], program: impl Fn(&mut Run) -> Result<()>) -> usize {
    let (good, counters) = once(&Mode::default(), &program).unwrap();
    let (mut report, mut survivors) = (String::new(), 0);
    for site in &counters.sites {
        if exempt.iter().any(|(file, what)| site.file.ends_with(file) && site.what == *what) {
            continue;
        }
        let noticed = Mode::all().into_iter().find_map(|mode| {
            let mode = Mode { disabled: Some(site.clone()), ..mode };
            let how = match once(&mode, &program) {
                Ok((outputs, _)) => good.difference(&outputs)?,
                Err(e) => e.to_string(),
            };
            Some(format!("{:?}, {:?}: {how}", mode.schedule, mode.timing))
        });
        survivors += usize::from(noticed.is_none());
        let noticed = noticed.unwrap_or_else(|| "NOBODY NOTICED".into());
        writeln!(report, "{name}: without {site}: {noticed}").unwrap();
    }
    assert_eq!(survivors, 0, "\n{report}");
    println!("{report}{name}: {0} of {0} found", counters.sites.len());
    counters.sites.len()
}

/// Bytes within 5 % of `bytes`, sectors at most 5 % more than those need, no bank conflicts.
pub fn check_traffic(counters: &Counters, bytes: f64) {
    check_layout(counters, bytes, counters.bytes() as f64 / 32.0);
}

/// The same where the layout leaves sectors partly unused, so that no kernel moves `bytes` in as few as those fill:
/// at most 5 % more sectors than `least`, what the layout needs ([`sectors_of`]).
pub fn check_layout(counters: &Counters, bytes: f64, least: f64) {
    let (moved, sectors) = (counters.bytes() as f64, counters.sectors() as f64);
    println!("bytes / cost {:.4}, sectors / least {:.4}", moved / bytes, sectors / least);
    assert!((moved / bytes - 1.0).abs() <= 0.05, "moved {moved} bytes, cost() says {bytes}");
    assert!(sectors <= 1.05 * least, "{sectors} sectors, {least} would do");
    assert_eq!(counters.bank_conflicts, 0, "of {} requests to shared memory", counters.shared_requests);
}

/// Sectors of 32 bytes that hold these ranges of a buffer, given in order as first byte and length.
pub fn sectors_of(ranges: impl IntoIterator<Item = (usize, usize)>) -> usize {
    let (mut sectors, mut next) = (0, 0);
    for (first, bytes) in ranges {
        let (from, end) = (next.max(first / 32), (first + bytes).div_ceil(32));
        sectors += end.saturating_sub(from);
        next = end;
    }
    sectors
}

/// Each value rounded to bf16: what a kernel that is given bf16 sees.
pub fn bf16s(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
}
