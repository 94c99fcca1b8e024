//! The rows of the self-test leave the same bits in every mode of the emulated device: in the first, `rewarm selftest`
//! judges them (`tests/cli/selftest.rs`), and wide kernels a test beside the rows does.
use rewarm::Result;
use rewarm::device::{Capability, EmulatedDevice, EmulatedSettings, Mode};
use rewarm::selftest::{Case, On, RowRun, cases};

/// On the smallest GPU; kernels for others on the largest.
fn run(case: &dyn Case, mode: Mode) -> Result<RowRun> {
    let capability = if case.optional() { Capability::Sm90 } else { mode.capability };
    let settings = EmulatedSettings { mode: Mode { capability, ..mode }, ..EmulatedSettings::default() };
    case.run(On::Device(Box::new(EmulatedDevice::new(settings)?)))
}

/// Bits of all outputs.
fn bits(found: &RowRun) -> Vec<(&'static str, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    found.outputs.iter().map(|(name, values)| (*name, bits(values))).collect()
}

/// Of 601 tokens: two shares, which `attention.rs` has in every mode, too.
fn long(case: &dyn Case) -> bool {
    case.op().starts_with("attention") && case.shape().contains(" x 601 x ")
}

/// The rows of operations whose names begin so, the long ones or the others.
fn check(op: &str, longer: bool) {
    let rows = cases().into_iter().filter(|case| case.op().starts_with(op) && !case.large());
    let rows = rows.filter(|case| long(&**case) == longer);
    let mut count = 0;
    for case in rows {
        let name = format!("{} {}", case.op(), case.shape());
        let mut modes = Mode::all().into_iter();
        let mut next = || Some(run(&*case, modes.next()?).unwrap_or_else(|e| panic!("{name}: {e}")));
        let first = next().expect("there are six");
        while let Some(other) = next() {
            assert!(bits(&first) == bits(&other), "{name}: other bits in another mode");
        }
        count += 1;
    }
    println!("{op}: {count} rows");
    assert!(count > 0, "no row is of {op}");
}

#[test]
#[ignore = "half a minute: tools/nightly.sh"]
fn long_attention() {
    check("attention", true);
}

/// A test per family, for more than one core.
macro_rules! families {
    ($($name:ident: $op:literal),*) => {
        $(#[test]
        fn $name() {
            check($op, false);
        })*

        #[test]
        fn no_row_is_left_out() {
            let families = [$($op),*];
            let left_out = |case: &Box<dyn Case>| !families.iter().any(|op| case.op().starts_with(op));
            assert!(!cases().iter().any(left_out));
        }
    };
}
families!(
    attention: "attention",
    cast: "cast",
    cross_entropy: "cross_entropy",
    embedding: "embedding",
    gelu_and_its_gradient: "gelu",
    layernorm: "layernorm",
    linear: "linear",
    philox: "philox",
    residual_add: "residual_add",
    rotary: "rotary",
    update: "update",
    update_in_bf16: "adamw"
);
