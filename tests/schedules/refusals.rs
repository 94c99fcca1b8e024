//! What another framework's schedule is refused for: the key and the rule are named.
use super::styled;

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
        ("hf:cosine_with_min_lr", format!("{hf}\nmin_lr_rate = 1.5"), "a share between 0 and 1"),
        ("hf:linear", format!("{hf}\nnum_training_steps = 5"), "a warmup must fit in"),
        ("hf:linear", "learning_rate = 1e-3\nnum_warmup_steps = 1.5".into(), "a whole number of at least 0"),
        ("hf:linear", "learning_rate = \"big\"\nnum_warmup_steps = 1".into(), "a number of at least 0"),
        ("hf:linear", "learning_rate = inf\nnum_warmup_steps = 1".into(), "a number of at least 0"),
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

fn refused(style: &str, args: &str, expected: &str) {
    let error = styled(style, args.parse().unwrap(), 100).expect_err(expected).to_string();
    assert!(error.contains(expected), "{style} {args}: {error}");
}

#[test]
fn a_list_names_the_entry_and_the_rule() {
    let exp = r#"{ style = "torch:ExponentialLR", gamma = 0.9 }"#;
    let two = format!("schedulers = [{exp}, {exp}]");
    let torch = |rest: &str| format!("lr = 1e-3\n{rest}");
    let sequential = [
        (torch("milestones = [5]"), "schedule.args.schedulers is missing"),
        (torch("milestones = [5]\nschedulers = []"), "a list of tables, which is not empty"),
        (torch(&two), "schedule.args.milestones is missing; torch:SequentialLR requires it"),
        (format!("milestones = [5]\n{two}"), "schedule.args.lr is missing"),
        (
            torch(&format!("milestones = [5, 9]\n{two}")),
            "milestones has 2 entries for 2 schedules; give one fewer",
        ),
        (torch(&format!("milestones = []\n{two}")), "milestones has 0 entries for 2 schedules"),
        (torch(&format!("milestones = [0]\n{two}")), "a list of whole numbers of at least 1"),
        (torch(&format!("milestones = [5.5]\n{two}")), "a list of whole numbers of at least 1"),
        (
            torch(&format!("milestones = [9, 9]\nschedulers = [{exp}, {exp}, {exp}]")),
            "milestones has 9 after 9; they must increase",
        ),
        (torch(&format!("milestone = [5]\nmilestones = [5]\n{two}")), "did you mean milestones?"),
        (
            torch(
                r#"milestones = []
schedulers = [{ style = "torch:ExponentialL", gamma = 0.9 }]"#,
            ),
            r#"schedule.args.schedulers[0].style is "torch:ExponentialL", which is unknown (did you mean "torch:ExponentialLR"?)"#,
        ),
        (
            torch("milestones = []\nschedulers = [{ gamma = 0.9 }]"),
            "schedule.args.schedulers[0].style is missing",
        ),
        (
            torch("milestones = []\nschedulers = [{ style = \"torch:ExponentialLR\" }]"),
            "schedule.args.schedulers[0].gamma is missing; torch:ExponentialLR requires it",
        ),
        (
            torch("milestones = []\nschedulers = [{ style = \"torch:StepLR\", step_size = 1, gama = 1 }]"),
            "schedule.args.schedulers[0].gama is not an argument of torch:StepLR; did you mean gamma?",
        ),
        (
            torch("milestones = []\nschedulers = [{ style = \"torch:StepLR\", step_size = 1, lr = 1 }]"),
            "schedulers[0].lr is given in an entry of a list",
        ),
        (
            torch("milestones = []\nschedulers = [{ style = \"hf:constant\" }]"),
            "schedules of its own framework",
        ),
        (torch("milestones = []\nschedulers = [{ style = \"torch:LambdaLR\" }]"), "a Python function"),
        (
            torch("milestones = []\nschedulers = [{ style = \"torch:ReduceLROnPlateau\" }]"),
            "which looks at the loss; the framework takes it alone only",
        ),
        (
            torch("milestones = []\nschedulers = [{ style = \"torch:SequentialLR\" }]"),
            "which is a list itself",
        ),
        (
            torch(&format!(
                "milestones = [5]\nschedulers = [{exp}, {{ style = \"torch:OneCycleLR\", max_lr = 1, total_steps = 100 }}]"
            )),
            "only the first can be one",
        ),
    ];
    for (args, expected) in &sequential {
        refused("torch:SequentialLR", args, expected);
    }
    refused("torch:ChainedScheduler", &torch("schedulers = 3"), "a list of tables");
    refused(
        "torch:ChainedScheduler",
        &torch(&format!("milestones = [5]\n{two}")),
        "schedule.args.milestones is not an argument",
    );
    let cosine = r#"{ style = "torch:CosineAnnealingLR", T_max = 50, eta_min = 1e-4 }"#;
    refused(
        "torch:ChainedScheduler",
        &torch(&format!("schedulers = [{exp}, {cosine}]")),
        "CosineAnnealingLR with eta_min is not made for a chain",
    );
    let constant = r#"{ style = "optax:constant_schedule", value = 1 }"#;
    refused(
        "optax:join_schedules",
        &format!("schedules = [{constant}]"),
        "schedule.args.boundaries is missing",
    );
    refused(
        "optax:join_schedules",
        &format!("schedules = [{constant}, {constant}, {constant}]\nboundaries = [9, 5]"),
        "boundaries has 5 after 9; they must increase",
    );
    let olmo = r#"lr = 1e-3
schedulers = [{ style = "olmo:constant" }, { style = "olmo:constant" }]"#;
    refused("olmo:sequential", olmo, "schedule.args.schedulers_max is missing");
    refused(
        "olmo:sequential",
        &format!("{olmo}\nschedulers_max = [1, 2, 3]"),
        "has 3 entries for 2 schedulers",
    );
    refused(
        "olmo:sequential",
        &format!("{olmo}\nschedulers_max = [100]"),
        "leave steps for the last scheduler",
    );
    let decay = "schedulers_max = [50]\noverride_decay = { start = 5, duration = 9 }";
    refused(
        "olmo:sequential",
        &format!("{olmo}\n{decay}"),
        "schedule.args.override_decay.end_lr and end_lr_fraction are missing",
    );
}

#[test]
fn a_function_in_python_is_refused_with_what_to_do() {
    for style in ["torch:LambdaLR", "torch:MultiplicativeLR"] {
        refused(style, "lr = 1e-3", "give its values as points (schedule.name = \"table\" with x and y)");
    }
}

#[test]
fn what_looks_at_the_loss_names_the_argument_and_the_rule() {
    let cases = [
        ("torch:ReduceLROnPlateau", "factor = 0.5", "schedule.args.lr is missing"),
        ("torch:ReduceLROnPlateau", "lr = 0", "a number above 0"),
        (
            "torch:ReduceLROnPlateau",
            "lr = 1\nfactor = 1",
            "schedule.args.factor is 1; torch:ReduceLROnPlateau expects a number above 0 and below 1",
        ),
        ("torch:ReduceLROnPlateau", "lr = 1\nmode = \"low\"", "one of [\"min\", \"max\"]"),
        ("torch:ReduceLROnPlateau", "lr = 1\nthreshold_mode = \"x\"", "one of [\"rel\", \"abs\"]"),
        ("torch:ReduceLROnPlateau", "lr = 1\neps = -1", "schedule.args.eps is -1"),
        ("torch:ReduceLROnPlateau", "lr = 1\nmin_lr = [0.1]", "schedule.args.min_lr is [0.1]"),
        ("torch:ReduceLROnPlateau", "lr = 1\npatience = 1.5", "a whole number of at least 0"),
        ("torch:ReduceLROnPlateau", "lr = 1\nwindow = 0", "a whole number of at least 1"),
        ("torch:ReduceLROnPlateau", "lr = 1\nthreshhold = 1", "did you mean threshold?"),
        ("hf:reduce_lr_on_plateau", "lr = 1", "schedule.args.learning_rate is missing"),
        (
            "hf:greedy",
            "learning_rate = 1e-3\nmin_lr = 0.1\nmax_lr = 0.01",
            "schedule.args.max_lr is 0.01, min_lr is 0.1",
        ),
        ("hf:greedy", "learning_rate = 1e-3\nsmooth = 1", "true or false"),
        (
            "hf:greedy",
            "learning_rate = 1e-3\nwindow = 5",
            "schedule.args.window is not an argument of hf:greedy",
        ),
        ("optax:contrib.reduce_on_plateau", "", "schedule.args.learning_rate is missing"),
        ("optax:contrib.reduce_on_plateau", "learning_rate = 1\nrtol = 0", "and atol are both 0"),
        ("optax:contrib.reduce_on_plateau", "learning_rate = 1\nrtol = 2", "a share between 0 and 1"),
        (
            "optax:contrib.reduce_on_plateau",
            "learning_rate = 1\npatience = 0",
            "a whole number of at least 1",
        ),
        (
            "optax:contrib.reduce_on_plateau",
            "learning_rate = { value = 1 }",
            "schedule.args.learning_rate.style is missing",
        ),
        (
            "optax:contrib.reduce_on_plateau",
            "learning_rate = { style = \"optax:contrib.reduce_on_plateau\", learning_rate = 1 }",
            "which looks at the loss",
        ),
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
