//! Bias gradients by products or by a kernel: equal bits in every mode either way, and a run stays with its choice.
use crate::drive::{Bits, Drive};
use crate::rig::{Sizes, load, weights};
use rewarm::backend::gpu::Gpu;
use rewarm::device::{EmulatedDevice, EmulatedSettings, Mode, StreamTiming};
use rewarm::ops::{Backend, GemmChoices, Part, State};
use std::sync::OnceLock;

fn drive(parallel: bool) -> Drive {
    Drive { sizes: Sizes { parallel, ..Sizes::new(64, 2) }, micro: [4, 2], time: 40, ..Drive::new(6) }
}

fn settings(epilogues: bool) -> EmulatedSettings {
    EmulatedSettings { epilogues, ..EmulatedSettings::default() }
}

/// What a run that nothing disturbs leaves: computed once for all who compare.
fn whole(parallel: bool, epilogues: bool) -> &'static Bits {
    static RUNS: [[OnceLock<Bits>; 2]; 2] = [const { [const { OnceLock::new() }; 2] }; 2];
    let run = || drive(parallel).run(settings(epilogues)).unwrap().0;
    RUNS[usize::from(parallel)][usize::from(epilogues)].get_or_init(run)
}

#[test]
fn equal_bits_in_every_mode() {
    let (drive, expected) = (drive(true), whole(true, true));
    for (mode, streams) in Mode::all().into_iter().zip(StreamTiming::all(2).into_iter().cycle()) {
        let (found, _) = drive.run(EmulatedSettings { mode, streams, ..settings(true) }).unwrap();
        assert!(found == *expected);
    }
    let (found, _) = Drive { graphs: false, ..drive }.run(settings(true)).unwrap();
    assert!(found == *expected, "captured and not");
}

/// Three steps on one device, three on another with what the first one chose; the text is that of `gemm.json`.
fn interrupted(drive: Drive, first: bool, second: bool, adopt: bool) -> (Bits, GemmChoices) {
    let (model, ws) = drive.model();
    let open = |epilogues| {
        let device = Box::new(EmulatedDevice::new(settings(epilogues)).unwrap());
        Gpu::new(device, &model.config, &model.table, &ws, true).unwrap()
    };
    let mut gpu = open(first);
    load(&mut gpu, &weights(&model, 3)).unwrap();
    gpu.set_applied(0);
    drive.steps(&model, &mut gpu, &ws, 0..3).unwrap();
    let text = serde_json::to_vec(&gpu.choices()).unwrap();
    let state = gpu.state().unwrap();
    let choices: GemmChoices = serde_json::from_slice(&text).unwrap();

    let mut gpu = open(second);
    if adopt {
        gpu.adopt(&choices).unwrap();
    }
    gpu.write_part(Part::Weights, &state.w).unwrap();
    gpu.write_part(Part::First, &state.m).unwrap();
    gpu.write_part(Part::Second, &state.v).unwrap();
    gpu.set_applied(3);
    let bits = drive.steps(&model, &mut gpu, &ws, 3..6).unwrap();
    if adopt {
        assert_eq!(gpu.choices(), choices);
    }
    (bits, choices)
}

#[test]
fn a_resumed_run_stays_with_its_choice() {
    for parallel in [true, false] {
        let drive = drive(parallel);
        let [separate, together] = [false, true].map(|epilogues| {
            whole(parallel, epilogues)[9..].to_vec() // without losses and norms of the first three steps
        });
        assert!(separate != together, "sums in another order");
        // The device that continues would choose otherwise.
        let (found, choices) = interrupted(drive, true, false, true);
        assert!(found == together);
        let used = choices.algorithms.values().filter(|choice| *choice == "epilogue").count();
        // qkv and output, or qkv, dense and down; the first micro-batch and the others.
        assert_eq!((used, choices.algorithms.len()), if parallel { (4, 4) } else { (6, 6) }, "{choices:?}");
        // Shapes decide, not layers: products of equal shape share a choice.
        let (found, _) = interrupted(drive, true, false, false);
        assert!(found != together, "without its choices other bits");
        let (found, choices) = interrupted(drive, false, false, true);
        assert!(found == separate && choices == GemmChoices::default());
    }
}

/// What a run has chosen to do separately stays so, whatever the device would choose now.
#[test]
fn separate_is_a_choice_too() {
    let drive = drive(true);
    let (_, mut choices) = interrupted(drive, true, true, true);
    choices.algorithms.values_mut().for_each(|choice| *choice = "separate".into());
    let (model, ws) = drive.model();
    let device = Box::new(EmulatedDevice::new(settings(true)).unwrap());
    let mut gpu = Gpu::new(device, &model.config, &model.table, &ws, true).unwrap();
    gpu.adopt(&choices).unwrap();
    load(&mut gpu, &weights(&model, 3)).unwrap();
    gpu.set_applied(0);
    let found = drive.steps(&model, &mut gpu, &ws, 0..6).unwrap();
    assert!(found == *whole(true, false));
    assert_eq!(gpu.choices(), choices);
    let elsewhere = GemmChoices { device: "Fake 40".into(), ..choices };
    assert_eq!(gpu.adopt(&elsewhere).unwrap_err().exit_code(), 4);
}
