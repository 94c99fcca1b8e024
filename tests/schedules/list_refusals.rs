//! What schedules that are lists, or that look at the loss, are refused for: the key and the rule are named.
use super::refused;

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
    refused("olmo:sequential", &format!("{olmo}\nschedulers_max = [5]\noverride_decay = 9"), "is no table");
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
        ("torch:ReduceLROnPlateau", "lr = 0", "a finite number above 0"),
        (
            "torch:ReduceLROnPlateau",
            "lr = 1\nfactor = 1",
            "schedule.args.factor is 1; torch:ReduceLROnPlateau expects a finite number above 0 and below 1",
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
        ("optax:contrib.reduce_on_plateau", "learning_rate = 1\nrtol = 2", "a finite number from 0 to 1"),
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
