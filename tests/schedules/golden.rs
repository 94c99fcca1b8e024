//! The published table: rates to twelve digits at chosen steps, of a peak of 3e-4 down to 3e-5 over 1000 steps with a
//! warmup of 10. Checked against the frameworks' own code when it was made.
use super::styled;

const STEPS: [u64; 14] = [0, 1, 5, 10, 11, 100, 255, 505, 752, 900, 901, 950, 990, 1000];
const TOLERANCE: f64 = 1e-9;

const NEOX: &str = "lr = 3e-4\nmin_lr = 3e-5\nwarmup = 0.01";
const MEGATRON: &str = "lr = 3e-4\nmin_lr = 3e-5\nlr_warmup_iters = 10";
const HF: &str = "learning_rate = 3e-4\nnum_warmup_steps = 10";
const EPFL: &str = "lr = 3e-4\nwarmup_steps = 10\nwsd_fract_decay = 0.2";

/// Style, arguments that all of the framework's rows have, further ones, rates at [`STEPS`].
type Row = (&'static str, &'static str, &'static str, [f64; 14]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("neox:linear", NEOX, "", [3e-05, 3e-05, 0.00015, 0.0003, 0.00029969697, 0.000272727273, 0.000225757576, 0.00015, 7.51515152e-05, 3.03030303e-05, 3e-05, 3e-05, 3e-05, 3e-05]),
    ("neox:cosine", NEOX, "", [3e-05, 3e-05, 0.00015, 0.0003, 0.00029999932, 0.000294531551, 0.000261213713, 0.000165, 6.96921666e-05, 3.67403991e-05, 3.66073703e-05, 3.169575e-05, 3.00679668e-05, 3e-05]),
    ("neox:exponential", NEOX, "", [3e-05, 3e-05, 0.00015, 0.0003, 0.000299790073, 0.000281683042, 0.00025272008, 0.000212147646, 0.00017846321, 0.000160899907, 0.000160787316, 0.000155365821, 0.000151075917, 0.000150022079]),
    ("neox:constant", NEOX, "", [3e-05, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003]),
    ("neox-legacy:linear", NEOX, "", [0.0, 3e-05, 0.00015, 0.0003, 0.0002997, 0.000273, 0.0002265, 0.0001515, 7.74e-05, 3.3e-05, 3.27e-05, 3e-05, 3e-05, 3e-05]),
    ("neox-legacy:cosine", NEOX, "", [0.0, 3e-05, 0.00015, 0.0003, 0.00029999926, 0.000294044053, 0.000257718945, 0.000152356098, 4.66329287e-05, 3e-05, 3e-05, 3e-05, 3e-05, 3e-05]),
    ("megatron:inverse-square-root", MEGATRON, "", [0.0, 3e-05, 0.00015, 0.0003, 0.000286038777, 9.48683298e-05, 5.94088526e-05, 4.22158527e-05, 3.45949203e-05, 3.16227766e-05, 3.1605223e-05, 3.07793506e-05, 3.01511345e-05, 3e-05]),
    ("megatron:WSD", MEGATRON, "lr_wsd_decay_iters = 100\nlr_wsd_decay_style = \"linear\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0002973, 0.000165, 5.7e-05, 3e-05]),
    ("megatron:WSD", MEGATRON, "lr_wsd_decay_iters = 100\nlr_wsd_decay_style = \"cosine\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000299933386, 0.000165, 3.66073703e-05, 3e-05]),
    ("megatron:WSD", MEGATRON, "lr_wsd_decay_iters = 100\nlr_wsd_decay_style = \"exponential\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000296269948, 0.000141837662, 4.93788349e-05, 3e-05]),
    ("megatron:WSD", MEGATRON, "lr_wsd_decay_iters = 100\nlr_wsd_decay_style = \"minus_sqrt\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000273, 0.000109081169, 4.38555095e-05, 3e-05]),
    ("hf:linear", HF, "", [0.0, 3e-05, 0.00015, 0.0003, 0.00029969697, 0.000272727273, 0.000225757576, 0.00015, 7.51515152e-05, 3.03030303e-05, 3e-05, 1.51515152e-05, 3.03030303e-06, 0.0]),
    ("hf:cosine", HF, "", [0.0, 3e-05, 0.00015, 0.0003, 0.000299999245, 0.000293923946, 0.000256904126, 0.00015, 4.41024073e-05, 7.48933234e-06, 7.34152256e-06, 1.8841667e-06, 7.55186425e-08, 0.0]),
    ("hf:cosine_with_restarts", HF, "num_cycles = 3", [0.0, 3e-05, 0.00015, 0.0003, 0.000299993203, 0.00024822911, 4.64881483e-05, 0.00015, 0.000256569687, 6.29914636e-05, 6.18322122e-05, 1.66746827e-05, 6.79211614e-07, 0.0]),
    ("hf:polynomial", HF, "power = 2\nlr_end = 3e-5", [0.0, 3e-05, 0.00015, 0.0003, 0.000299454821, 0.000253140496, 0.000182899449, 9.75e-05, 4.69432507e-05, 3.27548209e-05, 3.27e-05, 3.06887052e-05, 3.00275482e-05, 3e-05]),
    ("hf:inverse_sqrt", HF, "", [0.0, 3e-05, 0.00015, 0.0003, 0.000286038777, 9.48683298e-05, 5.94088526e-05, 4.22158527e-05, 3.45949203e-05, 3.16227766e-05, 3.1605223e-05, 3.07793506e-05, 3.01511345e-05, 3e-05]),
    ("hf:cosine_with_min_lr", HF, "min_lr_rate = 0.1", [0.0, 3e-05, 0.00015, 0.0003, 0.00029999932, 0.000294531551, 0.000261213713, 0.000165, 6.96921666e-05, 3.67403991e-05, 3.66073703e-05, 3.169575e-05, 3.00679668e-05, 3e-05]),
    ("epfl:wsd", EPFL, "decay_type = \"sqrt\"", [3e-06, 3.27e-05, 0.0001515, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 8.78679656e-05, 8.68099439e-05, 4.01923789e-05, 7.59616966e-06, 0.0]),
    ("epfl:wsd", EPFL, "decay_type = \"miror_cosine\"", [3e-06, 3.27e-05, 0.0001515, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.00015, 0.000149356098, 0.000106066017, 2.81532511e-05, 0.0]),
];

#[test]
fn the_published_table() {
    for (style, common, further, rates) in ROWS {
        let schedule = styled(style, format!("{common}\n{further}").parse().unwrap(), 1000).unwrap();
        for (step, expected) in STEPS.iter().zip(rates) {
            let found = schedule.lr(*step);
            // Nine digits are printed, so a rounding of half a unit in the ninth is the table's own.
            let printed =
                if *expected == 0.0 { 1e-20 } else { 0.5 * 10f64.powf(expected.log10().floor() - 8.0) };
            let bound = printed * 1.0001 + TOLERANCE * expected;
            assert!(
                (found - expected).abs() <= bound,
                "{style} {further} at {step}: {found:e}, not {expected:e}"
            );
        }
    }
}
