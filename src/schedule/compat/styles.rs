//! The table of styles: what they are called, what computes them, and how they are shown.
use super::pieces::Pieces;
use super::*;

const fn style(
    name: &'static str,
    build: fn(&Args, &RunSize) -> Result<Pieces>,
    example: &'static str,
) -> Style {
    Style { name, example, build }
}

/// Every style.
pub const STYLES: &[Style] = &[
    style("hf:constant", hf::constant, "learning_rate = 1e-3"),
    style(
        "hf:constant_with_warmup",
        hf::constant_with_warmup,
        "learning_rate = 1e-3\nnum_warmup_steps = 100",
    ),
    style("hf:linear", hf::linear, "learning_rate = 1e-3\nnum_warmup_steps = 100"),
    style("hf:cosine", hf::cosine, "learning_rate = 1e-3\nnum_warmup_steps = 100"),
    style(
        "hf:cosine_with_restarts",
        hf::cosine_with_restarts,
        "learning_rate = 1e-3\nnum_warmup_steps = 100\nnum_cycles = 3",
    ),
    style("hf:polynomial", hf::polynomial, "learning_rate = 1e-3\nnum_warmup_steps = 100\npower = 2"),
    style("hf:inverse_sqrt", hf::inverse_sqrt, "learning_rate = 1e-3\nnum_warmup_steps = 100"),
    style(
        "hf:cosine_with_min_lr",
        hf::cosine_with_min_lr,
        "learning_rate = 1e-3\nnum_warmup_steps = 100\nmin_lr_rate = 0.1",
    ),
    style(
        "hf:cosine_warmup_with_min_lr",
        hf::cosine_warmup_with_min_lr,
        "learning_rate = 1e-3\nnum_warmup_steps = 100\nmin_lr_rate = 0.1",
    ),
    style(
        "hf:warmup_stable_decay",
        hf::warmup_stable_decay,
        "learning_rate = 1e-3\nnum_warmup_steps = 100\nnum_decay_steps = 200",
    ),
    style(
        "hf:reduce_lr_on_plateau",
        feedback::hf_reduce_lr_on_plateau,
        "learning_rate = 1e-3\nfactor = 0.5\npatience = 5\nwindow = 100",
    ),
    style(
        "hf:greedy",
        feedback::hf_greedy,
        "learning_rate = 1e-3\nmin_lr = 1e-4\nmax_lr = 2e-3\nsmooth = true",
    ),
    style("megatron:constant", megatron::constant, "lr = 1e-3\nlr_warmup_iters = 100"),
    style("megatron:linear", megatron::linear, "lr = 1e-3\nmin_lr = 1e-4\nlr_warmup_iters = 100"),
    style("megatron:cosine", megatron::cosine, "lr = 1e-3\nmin_lr = 1e-4\nlr_warmup_fraction = 0.1"),
    style(
        "megatron:inverse-square-root",
        megatron::inverse_square_root,
        "lr = 1e-3\nmin_lr = 1e-4\nlr_warmup_iters = 100",
    ),
    style(
        "megatron:WSD",
        megatron::wsd,
        "lr = 1e-3\nmin_lr = 1e-4\nlr_warmup_iters = 100\nlr_wsd_decay_iters = 200",
    ),
    style("neox:constant", neox::constant, "lr = 1e-3\nwarmup = 0.1"),
    style("neox:linear", neox::linear, "lr = 1e-3\nmin_lr = 1e-4\nwarmup = 0.1"),
    style("neox:cosine", neox::cosine, "lr = 1e-3\nmin_lr = 1e-4\nwarmup = 0.1"),
    style("neox:exponential", neox::exponential, "lr = 1e-3\nwarmup = 0.1"),
    style("neox-legacy:constant", neox::legacy_constant, "lr = 1e-3\nwarmup = 0.1"),
    style("neox-legacy:linear", neox::legacy_linear, "lr = 1e-3\nmin_lr = 1e-4\nwarmup = 0.1"),
    style("neox-legacy:cosine", neox::legacy_cosine, "lr = 1e-3\nmin_lr = 1e-4\nwarmup = 0.1"),
    style("neox-legacy:exponential", neox::legacy_exponential, "lr = 1e-3\nwarmup = 0.1"),
    style("torchtitan:linear", torchtitan::linear, "lr = 1e-3\nwarmup_steps = 100\nmin_lr_factor = 0.1"),
    style("torchtitan:sqrt", torchtitan::sqrt, "lr = 1e-3\nwarmup_steps = 100\ndecay_ratio = 0.2"),
    style("torchtitan:cosine", torchtitan::cosine, "lr = 1e-3\nwarmup_steps = 100\nmin_lr_factor = 0.1"),
    style("olmo:constant", olmo::constant, "lr = 1e-3"),
    style("olmo:constant_with_warmup", olmo::constant_with_warmup, "lr = 1e-3\nwarmup = 100"),
    style("olmo:wsd", olmo::wsd, "lr = 1e-3\nwarmup = 100\ndecay_fraction = 0.2"),
    style("olmo:power_lr", olmo::power_lr, "lr = 1e-3\nwarmup = 100"),
    style("olmo:linear_with_warmup", olmo::linear_with_warmup, "lr = 1e-3\nwarmup = 100"),
    style("olmo:inv_sqrt_with_warmup", olmo::inv_sqrt_with_warmup, "lr = 1e-3\nwarmup = 100"),
    style("olmo:cos_with_warmup", olmo::cos_with_warmup, "lr = 1e-3\nwarmup = 100"),
    style("olmo:half_cos_with_warmup", olmo::half_cos_with_warmup, "lr = 1e-3\nwarmup = 100"),
    style(
        "olmo:cos_with_warmup_and_linear_decay",
        olmo::cos_with_warmup_and_linear_decay,
        "lr = 1e-3\nwarmup = 100\ndecay_fraction = 0.2",
    ),
    style(
        "olmo:composable",
        olmo_lists::composable,
        "lr = 1e-3\nstages = [{ duration = 100, start_lr = 0, end_lr_fraction = 1 }, { duration = 900, shape = \"cosine\", end_lr_fraction = 0.1 }]",
    ),
    style(
        "olmo:sequential",
        olmo_lists::sequential,
        "lr = 1e-3\nschedulers_max = [600]\nschedulers = [{ style = \"olmo:constant_with_warmup\", warmup = 100 }, { style = \"olmo:linear_with_warmup\", warmup = 0 }]",
    ),
    style("olmo:wsds", olmo::wsds, "lr = 1e-3\nwarmup = 100\ndecay = 100\nperiod_lengths = [300, 300, 400]"),
    style("olmo:exponential", olmo::exponential, "lr = 1e-3\nlr_min = 1e-5"),
    style(
        "llm.c:cosine",
        llm_c::cosine,
        "learning_rate = 1e-3\nwarmup_iterations = 100\nfinal_learning_rate_frac = 0.1",
    ),
    style(
        "llm.c:linear",
        llm_c::linear,
        "learning_rate = 1e-3\nwarmup_iterations = 100\nfinal_learning_rate_frac = 0.1",
    ),
    style("llm.c:constant", llm_c::constant, "learning_rate = 1e-3"),
    style(
        "llm.c:wsd",
        llm_c::wsd,
        "learning_rate = 1e-3\nwarmup_iterations = 100\nfinal_learning_rate_frac = 0",
    ),
    style(
        "nanotron:cosine",
        nanotron::cosine,
        "learning_rate = 1e-3\nlr_warmup_style = \"linear\"\nlr_warmup_steps = 100\nmin_decay_lr = 1e-4",
    ),
    style(
        "nanotron:linear",
        nanotron::linear,
        "learning_rate = 1e-3\nlr_warmup_style = \"linear\"\nlr_warmup_steps = 100\nmin_decay_lr = 1e-4",
    ),
    style(
        "nanotron:1-sqrt",
        nanotron::one_minus_sqrt,
        "learning_rate = 1e-3\nlr_warmup_style = \"linear\"\nlr_warmup_steps = 100\nmin_decay_lr = 0\nlr_decay_starting_step = 800\nlr_decay_steps = 200",
    ),
    style(
        "deepspeed:WarmupLR",
        deepspeed::warmup_lr,
        "warmup_max_lr = 1e-3\nwarmup_num_steps = 100\nwarmup_type = \"linear\"",
    ),
    style(
        "deepspeed:WarmupDecayLR",
        deepspeed::warmup_decay_lr,
        "warmup_max_lr = 1e-3\nwarmup_num_steps = 100\ntotal_num_steps = 1000",
    ),
    style(
        "deepspeed:WarmupCosineLR",
        deepspeed::warmup_cosine_lr,
        "lr = 1e-3\nwarmup_num_steps = 100\ntotal_num_steps = 1000\ncos_min_ratio = 0.1",
    ),
    style(
        "deepspeed:OneCycle",
        deepspeed::one_cycle,
        "cycle_min_lr = 1e-4\ncycle_max_lr = 1e-3\ncycle_first_step_size = 300\ndecay_lr_rate = 1\ndecay_step_size = 100\ncycle_momentum = false",
    ),
    style(
        "deepspeed:LRRangeTest",
        deepspeed::lr_range_test,
        "lr_range_test_min_lr = 1e-5\nlr_range_test_step_size = 100\nlr_range_test_step_rate = 9.9",
    ),
    style("epfl:cos", epfl::cos, "lr = 1e-3\nwarmup_steps = 100"),
    style("epfl:linear", epfl::linear, "lr = 1e-3\nwarmup_steps = 100"),
    style("epfl:cos_inf", epfl::cos_inf, "lr = 1e-3\nwarmup_steps = 100\ncos_inf_steps = 300"),
    style(
        "epfl:wsd",
        epfl::wsd,
        "lr = 1e-3\nwarmup_steps = 100\nwsd_fract_decay = 0.2\ndecay_type = \"sqrt\"",
    ),
    style("refined:file", refined::file, ""),
    style("refined:gpt", refined::gpt, "lr = 1e-3"),
    style("refined:roberta", refined::roberta, "lr = 1e-3"),
    style("refined:dlrm", refined::dlrm, "lr = 1e-3"),
    style("refined:mri", refined::mri, "lr = 1e-3"),
    style("refined:imagenet", refined::imagenet, "lr = 1e-3"),
    style("refined:rcnn", refined::rcnn, "lr = 1e-3"),
    style("torch:StepLR", torch::step_lr, "lr = 1e-3\nstep_size = 250\ngamma = 0.5"),
    style("torch:MultiStepLR", torch::multi_step_lr, "lr = 1e-3\nmilestones = [800, 900]\ngamma = 0.316"),
    style("torch:ConstantLR", torch::constant_lr, "lr = 1e-3\ntotal_iters = 100"),
    style("torch:LinearLR", torch::linear_lr, "lr = 1e-3\ntotal_iters = 100"),
    style("torch:ExponentialLR", torch::exponential_lr, "lr = 1e-3\ngamma = 0.998"),
    style("torch:PolynomialLR", torch::polynomial_lr, "lr = 1e-3\ntotal_iters = 1000\npower = 2"),
    style("torch:CosineAnnealingLR", torch::cosine_annealing_lr, "lr = 1e-3\nT_max = 1000"),
    style(
        "torch:CosineAnnealingWarmRestarts",
        torch::cosine_annealing_warm_restarts,
        "lr = 1e-3\nT_0 = 143\nT_mult = 2",
    ),
    style(
        "torch:CyclicLR",
        torch::cyclic_lr,
        "base_lr = 1e-4\nmax_lr = 1e-3\nstep_size_up = 125\nmode = \"triangular2\"\ncycle_momentum = false",
    ),
    style(
        "torch:OneCycleLR",
        torch::one_cycle_lr,
        "max_lr = 1e-3\ntotal_steps = 1000\ncycle_momentum = false",
    ),
    style(
        "torch:SequentialLR",
        torch_lists::sequential_lr,
        "lr = 1e-3\nmilestones = [100]\nschedulers = [{ style = \"torch:LinearLR\", start_factor = 0.01, total_iters = 100 }, { style = \"torch:CosineAnnealingLR\", T_max = 900 }]",
    ),
    style(
        "torch:ChainedScheduler",
        torch_lists::chained_scheduler,
        "lr = 1e-3\nschedulers = [{ style = \"torch:ConstantLR\", factor = 0.1, total_iters = 100 }, { style = \"torch:ExponentialLR\", gamma = 0.998 }]",
    ),
    style(
        "torch:ReduceLROnPlateau",
        feedback::torch_reduce_lr_on_plateau,
        "lr = 1e-3\nfactor = 0.5\npatience = 5\nwindow = 100",
    ),
    style("optax:constant_schedule", optax::constant_schedule, "value = 1e-3"),
    style(
        "optax:linear_schedule",
        optax::linear_schedule,
        "init_value = 1e-3\nend_value = 0\ntransition_steps = 1000",
    ),
    style(
        "optax:polynomial_schedule",
        optax::polynomial_schedule,
        "init_value = 1e-3\nend_value = 0\ntransition_steps = 1000\npower = 2",
    ),
    style(
        "optax:piecewise_constant_schedule",
        optax::piecewise_constant_schedule,
        "init_value = 1e-3\nboundaries_and_scales = { 500 = 0.5, 800 = 0.5 }",
    ),
    style(
        "optax:piecewise_interpolate_schedule",
        optax::piecewise_interpolate_schedule,
        "interpolate_type = \"cosine\"\ninit_value = 1e-3\nboundaries_and_scales = { 500 = 0.5, 1000 = 0.1 }",
    ),
    style(
        "optax:exponential_decay",
        optax::exponential_decay,
        "init_value = 1e-3\ntransition_steps = 300\ndecay_rate = 0.5\nend_value = 2e-4",
    ),
    style(
        "optax:cosine_decay_schedule",
        optax::cosine_decay_schedule,
        "init_value = 1e-3\ndecay_steps = 1000\nalpha = 0.1",
    ),
    style(
        "optax:linear_onecycle_schedule",
        optax::linear_onecycle_schedule,
        "transition_steps = 1000\npeak_value = 1e-3",
    ),
    style(
        "optax:cosine_onecycle_schedule",
        optax::cosine_onecycle_schedule,
        "transition_steps = 1000\npeak_value = 1e-3",
    ),
    style(
        "optax:warmup_constant_schedule",
        optax::warmup_constant_schedule,
        "init_value = 0\npeak_value = 1e-3\nwarmup_steps = 100",
    ),
    style(
        "optax:warmup_cosine_decay_schedule",
        optax::warmup_cosine_decay_schedule,
        "init_value = 0\npeak_value = 1e-3\nwarmup_steps = 100\ndecay_steps = 1000\nend_value = 1e-4",
    ),
    style(
        "optax:warmup_exponential_decay_schedule",
        optax::warmup_exponential_decay_schedule,
        "init_value = 0\npeak_value = 1e-3\nwarmup_steps = 100\ntransition_steps = 300\ndecay_rate = 0.5",
    ),
    style(
        "optax:sgdr_schedule",
        optax::sgdr_schedule,
        "cosine_kwargs = [{ init_value = 0, peak_value = 1e-3, warmup_steps = 50, decay_steps = 400 }, { init_value = 0, peak_value = 5e-4, warmup_steps = 50, decay_steps = 600 }]",
    ),
    style(
        "optax:join_schedules",
        optax::join_schedules,
        "boundaries = [100]\nschedules = [{ style = \"optax:linear_schedule\", init_value = 0, end_value = 1e-3, transition_steps = 100 }, { style = \"optax:cosine_decay_schedule\", init_value = 1e-3, decay_steps = 900 }]",
    ),
    style(
        "optax:contrib.reduce_on_plateau",
        feedback::optax_reduce_on_plateau,
        "learning_rate = 1e-3\nfactor = 0.5\npatience = 5\naccumulation_size = 100",
    ),
];
