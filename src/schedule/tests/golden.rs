//! Golden vectors, to the nine digits that were printed of them, and the curve of Gupta et al. 2023 (arXiv:2308.04014).
use super::*;

const STEPS: [u64; 14] = [0, 1, 5, 10, 11, 100, 255, 505, 752, 900, 901, 950, 990, 1000];

/// What each row is called there, how a configuration writes it, and its rates with nine digits; the peak is 3e-4,
/// of 1000 steps 10 are the warmup.
#[rustfmt::skip]
const ROWS: [(&str, &str, [f64; 14]); 24] = [
    ("neox/linear", "min_lr = 3e-5\nname = \"linear_clamped\"\nwarmup_convention = \"floor_one\"", [3e-05, 3e-05, 0.00015, 0.0003, 0.00029969697, 0.000272727273, 0.000225757576, 0.00015, 7.51515152e-05, 3.03030303e-05, 3e-05, 3e-05, 3e-05, 3e-05]),
    ("neox/cosine", "min_lr = 3e-5\nname = \"cosine\"\nwarmup_convention = \"floor_one\"", [3e-05, 3e-05, 0.00015, 0.0003, 0.00029999932, 0.000294531551, 0.000261213713, 0.000165, 6.96921666e-05, 3.67403991e-05, 3.66073703e-05, 3.169575e-05, 3.00679668e-05, 3e-05]),
    ("neox/exponential", "name = \"exp\"\nmin_lr = 3e-5\nwarmup_convention = \"floor_one\"", [3e-05, 3e-05, 0.00015, 0.0003, 0.000299790073, 0.000281683042, 0.00025272008, 0.000212147646, 0.00017846321, 0.000160899907, 0.000160787316, 0.000155365821, 0.000151075917, 0.000150022079]),
    ("neox/constant", "name = \"constant\"\nwarmup_convention = \"floor_one\"", [3e-05, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003]),
    ("neox-legacy/linear", "min_lr = 3e-5\nphases = [{shape = \"linear\", to = 0, part = [0, 0.98], length = 980}]", [0.0, 3e-05, 0.00015, 0.0003, 0.0002997, 0.000273, 0.0002265, 0.0001515, 7.74e-05, 3.3e-05, 3.27e-05, 3e-05, 3e-05, 3e-05]),
    ("neox-legacy/cosine", "min_lr = 3e-5\nname = \"cosine_legacy_neox\"", [0.0, 3e-05, 0.00015, 0.0003, 0.00029999926, 0.000294044053, 0.000257718945, 0.000152356098, 4.66329287e-05, 3e-05, 3e-05, 3e-05, 3e-05, 3e-05]),
    ("megatron/inverse-square-root", "name = \"inv_sqrt\"\nmin_lr = 3e-5", [0.0, 3e-05, 0.00015, 0.0003, 0.000286038777, 9.48683298e-05, 5.94088526e-05, 4.22158527e-05, 3.45949203e-05, 3.16227766e-05, 3.1605223e-05, 3.07793506e-05, 3.01511345e-05, 3e-05]),
    ("megatron/WSD-linear (D=100)", "min_lr = 3e-5\nname = \"wsd\"\ndecay = 100", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0002973, 0.000165, 5.7e-05, 3e-05]),
    ("megatron/WSD-cosine (D=100)", "min_lr = 3e-5\nname = \"wsd\"\ndecay = 100\ndecay_shape = \"cosine\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000299933386, 0.000165, 3.66073703e-05, 3e-05]),
    ("megatron/WSD-exponential (D=100)", "min_lr = 3e-5\nname = \"wsd\"\ndecay = 100\ndecay_shape = \"exp2\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000296269948, 0.000141837662, 4.93788349e-05, 3e-05]),
    ("megatron/WSD-minus_sqrt (D=100)", "min_lr = 3e-5\nname = \"wsd\"\ndecay = 100\ndecay_shape = \"one_minus_sqrt\"", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000273, 0.000109081169, 4.38555095e-05, 3e-05]),
    ("hf/linear", "name = \"linear\"\nmin_lr = 0", [0.0, 3e-05, 0.00015, 0.0003, 0.00029969697, 0.000272727273, 0.000225757576, 0.00015, 7.51515152e-05, 3.03030303e-05, 3e-05, 1.51515152e-05, 3.03030303e-06, 0.0]),
    ("hf/cosine", "name = \"cosine\"\nmin_lr = 0", [0.0, 3e-05, 0.00015, 0.0003, 0.000299999245, 0.000293923946, 0.000256904126, 0.00015, 4.41024073e-05, 7.48933234e-06, 7.34152256e-06, 1.8841667e-06, 7.55186425e-08, 0.0]),
    ("hf/cosine_with_restarts (3)", "name = \"cosine_restarts\"\ncycles = 3\nmin_lr = 0", [0.0, 3e-05, 0.00015, 0.0003, 0.000299993203, 0.00024822911, 4.64881483e-05, 0.00015, 0.000256569687, 6.29914636e-05, 6.18322122e-05, 1.66746827e-05, 6.79211614e-07, 0.0]),
    ("hf/polynomial (p=2,end=lo)", "min_lr = 3e-5\nname = \"poly\"\npower = 2", [0.0, 3e-05, 0.00015, 0.0003, 0.000299454821, 0.000253140496, 0.000182899449, 9.75e-05, 4.69432507e-05, 3.27548209e-05, 3.27e-05, 3.06887052e-05, 3.00275482e-05, 3e-05]),
    ("hf/inverse_sqrt", "name = \"inv_sqrt\"\ntimescale = 10", [0.0, 3e-05, 0.00015, 0.0003, 0.000286038777, 9.48683298e-05, 5.94088526e-05, 4.22158527e-05, 3.45949203e-05, 3.16227766e-05, 3.1605223e-05, 3.07793506e-05, 3.01511345e-05, 3e-05]),
    ("hf/cosine_with_min_lr (.1)", "min_lr = 3e-5\nname = \"cosine\"", [0.0, 3e-05, 0.00015, 0.0003, 0.00029999932, 0.000294531551, 0.000261213713, 0.000165, 6.96921666e-05, 3.67403991e-05, 3.66073703e-05, 3.169575e-05, 3.00679668e-05, 3e-05]),
    ("epfl/wsd-sqrt (20%,fin 0)", "name = \"wsd\"\ndecay = \"20%\"\ndecay_shape = \"one_minus_sqrt\"\nmin_lr = 0\nwarmup_from = \"1%\"", [3e-06, 3.27e-05, 0.0001515, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 8.78679656e-05, 8.68099439e-05, 4.01923789e-05, 7.59616966e-06, 0.0]),
    ("epfl/wsd-miror_cosine (20%)", "name = \"wsd\"\ndecay = \"20%\"\ndecay_shape = \"mirror_cosine\"\nmin_lr = 0\nwarmup_from = \"1%\"", [3e-06, 3.27e-05, 0.0001515, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.00015, 0.000149356098, 0.000106066017, 2.81532511e-05, 0.0]),
    ("infinite-cosine (C=400,K=500,const=1.65e-4)", "min_lr = 3e-5\nname = \"infinite_cosine\"\ncooldown = 400\nconstant_lr = 1.65e-4\nanneal = 90", [0.0, 3e-05, 0.00015, 0.0003, 0.000299997918, 0.000283827403, 0.000209137099, 0.000165, 0.000165, 0.000165, 0.000165, 7.73452878e-05, 3.62563245e-05, 3e-05]),
    ("infinite-inv_sqrt (ts=10)", "min_lr = 3e-5\nname = \"infinite_inv_sqrt\"\ncooldown = 400\nconstant_lr = 1.65e-4\nanneal = 90\nsteepness = 10", [0.0, 3e-05, 0.00015, 0.0003, 0.000297628445, 0.000213934932, 0.000179132803, 0.000165, 0.000165, 0.000165, 0.000165, 7.73452878e-05, 3.62563245e-05, 3e-05]),
    ("infinite-linear", "min_lr = 3e-5\nname = \"infinite_linear\"\ncooldown = 400\nconstant_lr = 1.65e-4\nanneal = 90", [0.0, 3e-05, 0.00015, 0.0003, 0.0002996625, 0.000269625, 0.0002173125, 0.000165, 0.000165, 0.000165, 0.000165, 7.73452878e-05, 3.62563245e-05, 3e-05]),
    ("minicpm-wsd (Ts=900,half=50)", "min_lr = 3e-5\nname = \"wsd\"\ndecay = 100\ndecay_shape = {shape = \"exp_halflife\", half_life = 50}", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000295869811, 0.00015, 8.61523766e-05, 7.5e-05]),
    ("1-sqrt-to-end (D=100,end=1e-4)", "name = \"wsd\"\ndecay = 100\ndecay_shape = \"one_minus_sqrt\"\nmin_lr = 1e-4", [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.00028, 0.000158578644, 0.00011026334, 0.0001]),
];

fn section(text: &str) -> RawSchedule {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// `x` with `digits` digits.
fn rounded(x: f64, digits: usize) -> f64 {
    format!("{x:.*e}", digits - 1).parse().unwrap()
}

#[test]
fn golden_vectors() {
    for (name, text, golden) in ROWS {
        let raw = section(&format!("lr = 3e-4\nwarmup = 10\n{text}"));
        let schedule = compile(&raw, 1000);
        for (step, expected) in STEPS.into_iter().zip(golden) {
            let lr = schedule.lr(step);
            assert_eq!(rounded(lr, 9), expected, "{name} at {step}: {lr:e}");
            assert!((lr - expected).abs() <= 5e-9 * expected, "{name} at {step}: {lr:e}, not {expected:e}");
        }
    }
}

/// 297 B tokens at 1 M a step, so that the tokens of the table are whole steps.
#[test]
fn the_curve_of_gupta_et_al() {
    const BILLION: u64 = 1000;
    let schedule = |name: &str| {
        let raw = section(&format!("name = \"{name}\"\nlr = 3e-4\nmin_lr = 3e-5\nwarmup = \"1%\""));
        let run = RunSize { steps: 297 * BILLION, tokens_per_step: 1_000_000, samples_per_step: 488 };
        raw.validate().unwrap().compile(&run, None).unwrap()
    };
    let tokens = [50, 100, 150, 200, 230, 239, 240, 297];
    let legacy = [2.8182e-4, 2.2769e-4, 1.5233e-4, 7.6337e-5, 3.9242e-5, 3.0128e-5, 3e-5, 3e-5];
    let modern = [2.8331e-4, 2.3372e-4, 1.6498e-4, 9.6242e-5, 6.3139e-5, 5.5103e-5, 5.4272e-5, 3e-5];
    for (name, row) in [("cosine_legacy_neox", legacy), ("cosine", modern)] {
        let schedule = schedule(name);
        let found = tokens.map(|b| rounded(schedule.lr(b * BILLION), 5));
        assert_eq!(found, row, "{name}");
    }
    let schedule = schedule("cosine_legacy_neox");
    let arrives = (3 * BILLION..297 * BILLION).find(|&step| schedule.lr(step) == 3e-5).unwrap();
    assert_eq!(rounded(arrives as f64 / BILLION as f64, 4), 239.1);
}

/// Pythia's: 143,000 iterations; the clamp comes at iteration 115,139.
#[test]
fn pythia_reaches_its_last_rate_at_iteration_115_139() {
    let raw = section("name = \"cosine_legacy_neox\"\nlr = 3e-4\nwarmup = \"1%\"");
    let schedule = compile(&raw, 143_000);
    let arrives = (2_000..143_000).find(|&step| schedule.lr(step) <= 3e-5).unwrap();
    assert_eq!(arrives, 115_139);
}
