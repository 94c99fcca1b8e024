//! Whether a device computes what it should: every primitive of `kernels/prim.h`, every kernel, and one step. The first
//! thing to run on a GPU that nobody has used before.
//!
//! Kernels are tested through the vocabulary of [`crate::ops`] where it has them: the `gpu` backend gets a small
//! workspace and inputs, one operation is issued, and what it leaves is compared with [`crate::reference`]. An error may
//! be twice that of a naive f32 computation with the same rounding points, and one rounding of the output.
//!
//! The rows are one book: `tests/ops/book.rs` issues them on the `cpu` backend, `tests/kernels/book.rs` and
//! `selfcheck.rs` run them in every mode of the emulated device.
mod around;
mod cases;
mod fragments;
pub mod judge;
pub mod launch;
mod naive;
pub mod primitives;
mod report;
mod rig;
mod rounded;
mod step;
mod table;

pub use around::Around;
pub use judge::Judgement;
pub use report::{Build, Report, Row, Verdict};
pub use rounded::{judge_gradients, rounded, rounded_weights};

use crate::device::{self, Device, DeviceName};
use crate::{Error, Result};
use judge::Activations;

pub use cases::Case;
pub use rig::{On, RowRun};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
pub use table::cases;

/// Tests a device, or those parts whose names begin with `only`. With `separate`, products that sum gradients of biases
/// on their way are left out; they come last otherwise, since libraries are said to have failed there, and nothing can be
/// tested behind a failure. `seen` is told each line when it is known. An error is one of opening the device, or of
/// `only`; what goes wrong later is in the report.
pub fn run(
    name: DeviceName,
    only: Option<&str>,
    separate: bool,
    seen: &mut dyn FnMut(&Row),
) -> Result<Report> {
    let started = Instant::now();
    let name = device::resolve(name);
    // Open until the end, which keeps a GPU's context between the rows.
    let first = open(name)?;
    let (again, emulated) = (|| open(name), name == DeviceName::Emulated);
    let mut test = Test { open: &again, emulated, dead: false, kernels: BTreeSet::new(), seen };
    let wanted = |op: &str| only.is_none_or(|only| op.starts_with(only));

    let primitives = primitives::all().into_iter().filter(|p| wanted(p.op));
    let primitives: Vec<Row> = primitives.map(|p| test.primitive(&p)).collect();
    let cases = table::cases().into_iter().filter(|case| wanted(case.op()));
    let (last, first_ones): (Vec<_>, Vec<_>) = cases.partition(|case| case.optional());
    let mut rows: Vec<Row> = first_ones.iter().map(|case| test.case(&**case)).collect();
    let (mut step, mut launches) = (Vec::new(), BTreeMap::new());
    if wanted(step::NAME) {
        for parallel in [true, false] {
            step.push(test.step(parallel, &mut launches));
        }
    }
    rows.extend(last.iter().filter(|_| !separate).map(|case| test.case(&**case)));
    if primitives.is_empty() && rows.is_empty() && step.is_empty() {
        return Err(unknown(only.unwrap_or("")));
    }
    let (device, kernels) = (first.name(), test.kernels);
    let seconds = started.elapsed().as_secs_f64();
    Ok(Report { device, build: Build::this(), rows, primitives, step, launches, kernels, seconds })
}

/// Whether an operation is among the rows.
pub fn tests(op: &str) -> bool {
    table::cases().iter().any(|case| case.op() == op)
}

fn open(name: DeviceName) -> Result<Box<dyn Device>> {
    device::open(name)?.ok_or_else(|| {
        Error::refused(
            "no GPU to test here (`rewarm doctor` says what is missing; a cpu has no kernels); --device emulated runs \
             the kernels on the processor",
        )
    })
}

fn unknown(only: &str) -> Error {
    let primitives = primitives::all();
    let cases = table::cases();
    let ops = primitives.iter().map(|p| p.op).chain(cases.iter().map(|c| c.op())).chain([step::NAME]);
    let mut names: Vec<&str> = Vec::new();
    ops.for_each(|op| {
        if !names.contains(&op) {
            names.push(op)
        }
    });
    Error::refused(format!("nothing to test is called {only:?}; there are {}", names.join(", ")))
}

/// A test that goes on.
struct Test<'a> {
    /// A fresh device.
    open: &'a dyn Fn() -> Result<Box<dyn Device>>,
    emulated: bool,
    /// A GPU's context is of no use after an error.
    dead: bool,
    kernels: BTreeSet<String>,
    seen: &'a mut dyn FnMut(&Row),
}

impl Test<'_> {
    /// Runs `body` on a device unless that makes no sense, and tells what came of it.
    fn line(
        &mut self,
        op: &str,
        shape: &str,
        large: bool,
        body: impl FnOnce(&mut Self, Box<dyn Device>) -> Result<Row>,
    ) -> Row {
        let not_run = |why: &str| Row::plain(op, shape, Verdict::NotRun, Some(why.to_owned()));
        let row = if self.dead {
            not_run("the device has failed")
        } else if large && self.emulated {
            not_run("for GPUs: too slow on this device")
        } else {
            let result = (self.open)().and_then(|device| body(self, device));
            result.unwrap_or_else(|e| {
                self.dead = !self.emulated && matches!(e, Error::Failed(_));
                Row::plain(op, shape, Verdict::Failed, Some(e.to_string()))
            })
        };
        (self.seen)(&row);
        row
    }

    fn primitive(&mut self, p: &primitives::Primitive) -> Row {
        self.line(p.op, p.what, false, |test, device| {
            test.kernels.insert(p.program.kernel.to_owned());
            let verdict = (p.check)(&launch::run(device, &p.program)?);
            let code = if verdict.is_ok() { Verdict::Ok } else { Verdict::Wrong };
            Ok(Row::plain(p.op, p.what, code, verdict.err()))
        })
    }

    fn case(&mut self, case: &dyn Case) -> Row {
        let (op, shape) = (case.op(), case.shape());
        self.line(op, &shape, case.large(), |test, device| {
            let found = match case.run(On::Device(device)) {
                Err(Error::Refused(why)) if case.optional() => {
                    return Ok(Row::plain(op, &shape, Verdict::NotRun, Some(why)));
                }
                found => found?,
            };
            test.kernels.extend(found.kernels);
            Ok(Row::judged(op, &shape, judge::judge(&found.outputs, &case.expect(Activations::Bf16))))
        })
    }

    fn step(&mut self, parallel: bool, launches: &mut BTreeMap<&'static str, u64>) -> Row {
        let shape = step::residual(parallel);
        self.line(step::NAME, shape, false, |_, device| {
            let found = step::run(device, parallel)?;
            launches.insert(shape, found.launches);
            Ok(Row::judged(step::NAME, shape, found.judgement))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::cases::norm::Norms;
    use super::judge::judge;
    use super::*;
    use crate::device::{Capability, Emulated, EmulatedDevice, EmulatedSettings, Mode};

    /// With room for every kernel.
    fn emulated() -> Box<dyn Device> {
        let mode = Mode { capability: Capability::Sm90, ..Mode::default() };
        let settings = EmulatedSettings { mode, ..EmulatedSettings::default() };
        Box::new(EmulatedDevice::new(settings).unwrap())
    }

    /// What another input must leave is not what this one leaves.
    #[test]
    fn a_wrong_result_is_found() {
        let case = |seed| Norms { rows: 3, cols: 512, norms: 2, seed };
        let found = case(1).run(On::Device(emulated())).unwrap().outputs;
        assert!(judge(&found, &case(1).expect(Activations::Bf16)).holds());
        let wrong = judge(&found, &case(2).expect(Activations::Bf16));
        assert!(!wrong.holds(), "{wrong:?}");
        assert_eq!(Row::judged("layernorm_pair", "", wrong).verdict, Verdict::Wrong);
    }

    /// Where there is room both kernels run, and where there is not, the wide one's row says why.
    #[test]
    fn wide_kernels_have_rows_of_their_own() {
        let mut launched = BTreeSet::new();
        for case in table::cases().into_iter().filter(|case| case.shape().starts_with("1 x 161 x ")) {
            let found = case.run(On::Device(emulated())).unwrap();
            let judged = judge(&found.outputs, &case.expect(Activations::Bf16));
            assert!(judged.holds(), "{} {}: {judged:?}", case.op(), case.shape());
            launched.extend(found.kernels);
            if case.optional() {
                let mut ignore = |_: &Row| ();
                let row = test(&|| open(DeviceName::Emulated), &mut ignore).case(&*case);
                let why = row.note.as_deref().unwrap_or_default();
                assert!(row.verdict == Verdict::NotRun && why.contains("bytes of shared memory"), "{row}");
            }
        }
        let both =
            |n: &&str| n.ends_with("_wide") || Emulated::kernels().contains(&format!("{n}_wide").as_str());
        let missing: Vec<_> =
            Emulated::kernels().into_iter().filter(both).filter(|n| !launched.contains(*n)).collect();
        assert!(missing.is_empty() && launched.len() > 20, "{missing:?}, {launched:?}");
    }

    fn test<'a>(open: &'a dyn Fn() -> Result<Box<dyn Device>>, seen: &'a mut dyn FnMut(&Row)) -> Test<'a> {
        Test { open, emulated: true, dead: false, kernels: BTreeSet::new(), seen }
    }

    /// In every row that is quick: one element that is off by a twentieth of the largest, NaN, or
    /// missing.
    #[test]
    fn one_wrong_element_is_found() {
        for case in table::cases() {
            let small =
                !["2048", "5120", "601", "20480", "131072", "50"].iter().any(|n| case.shape().contains(n));
            if !small || case.large() {
                continue;
            }
            let (good, expected) =
                (case.run(On::Device(emulated())).unwrap().outputs, case.expect(Activations::Bf16));
            let name = format!("{} {}", case.op(), case.shape());
            assert!(judge(&good, &expected).holds(), "{name}");
            for e in &expected {
                let spoil = |change: &dyn Fn(&mut Vec<f32>)| {
                    let mut bad = good.clone();
                    change(&mut bad.iter_mut().find(|(output, _)| *output == e.name).unwrap().1);
                    judge(&bad, &expected).holds()
                };
                let largest = e.exact.iter().fold(0.0, |a: f64, x| a.max(x.abs())) as f32;
                assert!(!spoil(&|x| x[0] += 0.05 * largest.max(0.1)), "{name} {}", e.name);
                assert!(!spoil(&|x| *x.last_mut().unwrap() = f32::NAN), "{name} {}: NaN", e.name);
                assert!(!spoil(&|x| x.truncate(x.len() - 1)), "{name} {}: missing", e.name);
            }
        }
    }

    /// The rest is named, and does not count as passed.
    #[test]
    fn nothing_runs_on_a_device_that_has_failed() {
        let mut seen = Vec::new();
        let mut tell = |row: &Row| seen.push((row.verdict, row.note.clone().unwrap()));
        let mut test = Test { emulated: false, ..test(&|| Ok(emulated()), &mut tell) };
        test.line("a", "", true, |_, _| Err(Error::refused("too little memory")));
        test.line("b", "", true, |_, _| Err(Error::failed("illegal address")));
        test.line("c", "", false, |_, _| unreachable!());
        let note = |text: &str| text.to_owned();
        let expected = [
            (Verdict::Failed, note("too little memory")),
            (Verdict::Failed, note("illegal address")),
            (Verdict::NotRun, note("the device has failed")),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn unknown_parts_are_refused() {
        let error = run(DeviceName::Emulated, Some("atention"), false, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("atention") && error.contains("attention_bwd"), "{error}");
        for name in [DeviceName::Cpu, DeviceName::Cuda(63)] {
            assert!(matches!(run(name, None, false, &mut |_| ()), Err(Error::Refused(_))));
        }
    }
}
