//! What another framework's schedule is refused for: the key and the rule are named.
use super::{refused, styled};

#[test]
fn a_message_names_the_argument_and_the_rule() {
    let hf = "learning_rate = 1e-3\nnum_warmup_steps = 10";
    let cases = [
        (
            "hf:cosin",
            hf.into(),
            r#"schedule.style is "hf:cosin", which is unknown (did you mean "hf:cosine"?)"#,
        ),
        (
            "hf:linear",
            "learning_rate = 1e-3".into(),
            "schedule.args.num_warmup_steps is missing; hf:linear requires it",
        ),
        (
            "hf:linear",
            format!("{hf}\nnum_cycle = 2"),
            "schedule.args.num_cycle is not an argument of hf:linear",
        ),
        ("hf:cosine", format!("{hf}\nnum_cycle = 2"), "did you mean num_cycles?"),
        ("hf:cosine_with_min_lr", hf.into(), "schedule.args.min_lr and min_lr_rate are missing"),
        ("hf:cosine_with_min_lr", format!("{hf}\nmin_lr = 1e-4\nmin_lr_rate = 0.1"), "are both given"),
        ("hf:cosine_with_min_lr", format!("{hf}\nmin_lr = 1e-2"), "a decay cannot end above its start"),
        ("hf:cosine_with_min_lr", format!("{hf}\nmin_lr_rate = 1.5"), "a finite number from 0 to 1"),
        ("hf:linear", format!("{hf}\nnum_training_steps = 5"), "a warmup must fit in"),
        ("hf:linear", "learning_rate = 1e-3\nnum_warmup_steps = 1.5".into(), "a whole number of at least 0"),
        (
            "hf:linear",
            "learning_rate = \"big\"\nnum_warmup_steps = 1".into(),
            "a finite number of at least 0",
        ),
        ("hf:linear", "learning_rate = inf\nnum_warmup_steps = 1".into(), "a finite number of at least 0"),
        ("hf:warmup_stable_decay", format!("{hf}\nnum_decay_steps = 999"), "longer than num_training_steps"),
        (
            "hf:warmup_stable_decay",
            format!("{hf}\nnum_decay_steps = 9\ndecay_type = \"sqrt\""),
            "one of [\"cosine\"",
        ),
        (
            "megatron:WSD",
            "lr = 1e-3".into(),
            "schedule.args.lr_wsd_decay_iters is missing or 0; megatron:WSD requires it",
        ),
        ("megatron:linear", "lr = 1e-3\nlr_decay_iters = 9\nlr_decay_samples = 9".into(), "are both given"),
        ("neox:cosine", "lr = 1e-3\nwarmup = 1".into(), "schedule.args.warmup is 1"),
        ("neox-legacy:cosine", "lr = 1e-3\nwarmup = 0.6".into(), "a share of at most 0.5"),
        ("torchtitan:linear", "lr = 1e-3\ntotal_steps = 9".into(), "behind total_steps there is no rate"),
        ("olmo:wsd", "lr = 1e-3".into(), "schedule.args.warmup and warmup_fraction are missing"),
        ("nanotron:linear", "learning_rate = 1e-3".into(), "schedule.args.lr_warmup_style is missing"),
        ("torch:OneCycleLR", "max_lr = 1e-3\ntotal_steps = 100".into(), "say cycle_momentum = false"),
        ("torch:MultiStepLR", "lr = 1e-3\nmilestones = [5, 2]".into(), "list them in order"),
        ("torch:ExponentialLR", "lr = 1e-3\ngamma = 1e9".into(), "grow beyond all numbers"),
        ("olmo:power_lr", "lr = 1e-3\nwarmup = 95".into(), "inside of the warmup"),
        ("torch:CosineAnnealingWarmRestarts", "lr = 1e-3".into(), "schedule.args.T_0 is missing"),
        (
            "optax:sgdr_schedule",
            "cosine_kwargs = [{ init_value = 0 }]".into(),
            "schedule.args.cosine_kwargs[0].peak_value is missing",
        ),
        (
            "optax:piecewise_constant_schedule",
            "init_value = 1\nboundaries_and_scales = { x = 1 }".into(),
            "a table of factors by step",
        ),
    ];
    for (style, args, expected) in cases {
        let args: String = args;
        refused(style, &args, expected);
    }
}

#[test]
fn a_cycle_of_rates_has_a_length_and_leaves_the_momentum() {
    let torch = |rest: &str| format!("max_lr = 1e-3\ncycle_momentum = false\n{rest}");
    let missing = "total_steps is missing, and so is one of epochs and steps_per_epoch";
    let cases = [
        (torch(""), missing),
        (torch("epochs = 2"), missing),
        (torch("steps_per_epoch = 100"), missing),
        (torch("epochs = 0\nsteps_per_epoch = 100"), "schedule.args.epochs is 0"),
        (torch("epochs = 2\nsteps_per_epoch = 100\ntotal_steps = 200"), "are both given"),
        (torch("epochs = 2\nsteps_per_epoch = 49"), "schedule.args.epochs makes 98 steps, the run has 100"),
        (torch("total_steps = 99"), "schedule.args.total_steps makes 99 steps, the run has 100"),
        (torch("total_steps = 100\nmax_momentum = 0.9"), "max_momentum moves the momentum"),
        ("max_lr = 1e-3\ntotal_steps = 100".into(), "cycle_momentum is true by default"),
    ];
    for (args, expected) in &cases {
        refused("torch:OneCycleLR", args, expected);
    }
    let deepspeed = |rest: &str| format!("cycle_min_lr = 1e-4\ncycle_max_lr = 1e-3\n{rest}");
    let cases = [
        (deepspeed(""), "cycle_momentum is true by default"),
        (deepspeed("cycle_momentum = false\ncycle_min_mom = 0.8"), "cycle_min_mom moves the momentum"),
        (deepspeed("cycle_momentum = false\ncycle_first_step_size = 0"), "a whole number of at least 1"),
        (deepspeed("cycle_momentum = false\ndecay_lr_rate = -1"), "a finite number of at least 0"),
        (
            "cycle_momentum = false\ncycle_min_lr = 1e-2\ncycle_max_lr = 1e-3".into(),
            "cycle_min_lr is 0.01, cycle_max_lr is 0.001; a cycle goes up first",
        ),
        ("cycle_momentum = false\ncycle_min_lr = 1e-4".into(), "schedule.args.cycle_max_lr is missing"),
    ];
    for (args, expected) in &cases {
        refused("deepspeed:OneCycle", args, expected);
    }
}

#[test]
fn a_factor_of_0_is_refused_where_torch_divides_by_it() {
    let args = "lr = 1e-3\nfactor = 0\ntotal_iters";
    refused("torch:ConstantLR", &format!("{args} = 99"), "schedule.args.factor is 0, which torch divides by");
    let rates = styled("torch:ConstantLR", format!("{args} = 100").parse().unwrap(), 100).unwrap();
    assert!((0..100).all(|step| rates.lr(step) == 0.0));
}

#[test]
fn deepspeed_names_the_argument_and_the_rule() {
    let total = "lr = 1e-3\nwarmup_num_steps = 50\ntotal_num_steps = 49";
    let cases = [
        ("WarmupLR", "warmup_min_lr = 0", "schedule.args.warmup_max_lr and lr, the optimizer's, are missing"),
        ("WarmupLR", "lr = 1e-3\nwarmup_max_lr = 1e-3", "schedule.args.lr and warmup_max_lr are both given"),
        ("WarmupLR", "lr = 1e-3\nwarmup_type = \"cosine\"", "one of [\"log\", \"linear\"]"),
        ("WarmupLR", "lr = 1e-3\nwarmup_num_steps = 0", "a whole number of at least 1"),
        ("WarmupLR", "lr = 1e-3\nlast_batch_iteration = -1", "last_batch_iteration is where DeepSpeed's"),
        ("WarmupDecayLR", "warmup_max_lr = 1e-3", "schedule.args.total_num_steps is missing"),
        ("WarmupCosineLR", total, "total_num_steps is 49, the warmup takes 50 steps"),
        ("WarmupCosineLR", "total_num_steps = 2000", "schedule.args.lr is missing"),
        ("WarmupCosineLR", "lr = 1e-3\nwarmup_max_lr = 1e-3\ntotal_num_steps = 2000", "is not an argument"),
        (
            "WarmupCosineLR",
            "lr = 1\ntotal_num_steps = 2000\ncos_min_ratio = 2",
            "a finite number from 0 to 1",
        ),
        ("LRRangeTest", "lr_range_test_step_size = 0", "a whole number of at least 1"),
        ("LRRangeTest", "lr_range_test_staircase = 1", "expects true or false"),
    ];
    for (name, args, expected) in cases {
        refused(&format!("deepspeed:{name}"), args, expected);
    }
}

#[test]
fn frameworks_with_few_schedules_name_the_argument_and_the_rule() {
    let cases = [
        ("lingua:linear", "lr = 1e-3", "schedule.args.warmup is 2000, the run has 100 steps"),
        ("lingua:inv_sqrt", "warmup = 0", "schedule.args.warmup is 0; lingua divides 0 by 0"),
        ("lingua:cosine", "warmup = 9\ncycle_length = 1e-3", "makes cycles of 0.1 steps; give at least 1"),
        ("lingua:cosine", "warmup = 9\nlr_min_ratio = 2", "a finite number from 0 to 1"),
        ("lingua:wsd", "warmup = 9\nlr_min_ratio = 0", "schedule.args.lr_min_ratio or lr is 0"),
        ("lingua:wsd", "warmup = 9\ndecay_fraction = 0.5\ncycle_length = 0.5", "lingua wants less than that"),
        ("lingua:constant", "warmup = 9", "schedule.args.warmup is not an argument of lingua:constant"),
        ("litgpt:cosine", "learning_rate = 1e-3", "lr_warmup_steps is 2000, the run has 100 steps"),
        ("litgpt:cosine", "learning_rate = 1e-5\nlr_warmup_steps = 9", "a decay cannot end above its start"),
        ("litgpt:cosine", "learning_rate = 1e-3\nlr_warmup_steps = 9", "schedule.args.devices is missing"),
        (
            "litgpt:cosine",
            "learning_rate = 1e-3\nlr_warmup_steps = 9\nglobal_batch_size = 8\ndevices = 4",
            "global_batch_size is 8, less than a micro-batch of 4 for each of 4 devices",
        ),
        ("nanochat:warmdown", "warmup_steps = 9", "schedule.args.lr is missing"),
        (
            "nanochat:warmdown",
            "lr = 1\nwarmup_steps = 101",
            "num_iterations is 100; the warmup (101 steps) must",
        ),
        ("nanochat:warmdown", "lr = 1\nnum_iterations = 99", "the run (100 steps) ends by then"),
    ];
    for (style, args, expected) in cases {
        refused(style, args, expected);
    }
}

#[test]
fn our_own_keys_and_a_style_exclude_each_other() {
    for text in [
        "style = \"hf:linear\"\nlr = 1e-3",
        "style = \"hf:linear\"\nname = \"cosine\"",
        "style = \"hf:linear\"\npower = 2",
    ] {
        let raw: rewarm::schedule::RawSchedule = toml::from_str(text).unwrap();
        let error = raw.validate().unwrap_err().to_string();
        assert!(error.contains("and schedule.style are both given"), "{error}");
    }
    let raw: rewarm::schedule::RawSchedule = toml::from_str("[args]\nlr = 1e-3").unwrap();
    assert!(raw.validate().unwrap_err().to_string().contains("without schedule.style"));
}

#[test]
fn a_style_means_the_same_after_it_was_written_down() {
    let text = "style = \"megatron:cosine\"\n[args]\nlr = 1e-3\nlr-warmup-iters = 10\n";
    let raw: rewarm::schedule::RawSchedule = toml::from_str(text).unwrap();
    let config = raw.validate().unwrap();
    let again: rewarm::schedule::RawSchedule =
        toml::from_str(&toml::to_string(&config.to_raw()).unwrap()).unwrap();
    assert_eq!(again.validate().unwrap(), config);
}
