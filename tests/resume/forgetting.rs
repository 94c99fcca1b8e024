//! What a phase forgets and learns: figures of the log's own losses, the same through kills and resumes.
use super::documents::write_documents;
use super::*;
use rewarm::checkpoint::{Disk, Manifest};
use serde_json::{Value, json};

/// A model of [`TINY`]'s data, and `phase.toml`, which trains it on data that contradict them: tokens have other names,
/// so that other ones follow each.
fn phases() -> Dir {
    let dir = tiny();
    let turned = |seed, count| -> Vec<u8> {
        let pairs = tokens(seed, count);
        pairs
            .chunks(2)
            .flat_map(|t| ((5 * u16::from_le_bytes([t[0], t[1]]) + 7) % 64).to_le_bytes())
            .collect()
    };
    dir.write("new.bin", turned(3, 40_000));
    dir.write("new-other.bin", turned(4, 2_000));
    rewarm(&dir, ["train", "DIR/tiny.toml", "--set", "run_dir=\"DIR/base\"", "--set", "train.steps=400"])
        .ok();
    dir.config("phase.toml", &phase("reset", "restart"));
    dir
}

fn phase(optimizer: &str, data: &str) -> String {
    let (head, tail) = TINY.split_once("[model]").unwrap();
    let start = format!("[start]\nfrom = \"DIR/base\"\noptimizer = \"{optimizer}\"\ndata = \"{data}\"\n");
    let tail = tail[tail.find("[data]").unwrap()..].replace("DIR/tokens.bin", "DIR/new.bin");
    let sets = "name = \"old\"\nrole = \"retain\"\npaths = [\"raw-u16:DIR/other.bin\"]\n\n\
                [[data.validation]]\nname = \"new\"\nrole = \"learn\"\npaths = [\"raw-u16:DIR/new-other.bin\"]\n\n\
                [[data.validation]]\nname = \"other\"\n";
    let text = format!("{head}{start}{}", tail.replace("name = \"other\"\n", sets));
    text.replace("every = 10", "every = 2").replace("steps = 20", "steps = 30")
}

/// Evaluations of a set, in order.
fn evaluated(run: &Path, set: &str) -> Vec<Value> {
    log(run).into_iter().filter(|line| line["eval"] == set).collect()
}

/// What each line of a retained set says is what the losses of the lines up to it say.
#[track_caller]
fn assert_forgetting_is_of_the_log(lines: &[Value]) {
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    let gaps: Vec<f64> = lines.iter().map(|line| loss(line) - loss(&lines[0])).collect();
    assert_eq!(lines[0]["step"], 0);
    for (i, line) in lines.iter().enumerate() {
        let mut peak = 0;
        for (j, gap) in gaps[..=i].iter().enumerate() {
            peak = if *gap > gaps[peak] { j } else { peak };
        }
        let back = (peak + 1..=i).find(|j| gaps[peak] > 0.0 && gaps[*j] <= 0.0);
        let expected = json!({
            "forgetting": gaps[i],
            "forgetting_peak": gaps[peak],
            "forgetting_peak_step": lines[peak]["step"],
            "recovered_step": back.map_or(Value::Null, |j| lines[j]["step"].clone()),
        });
        let keys = ["forgetting", "forgetting_peak", "forgetting_peak_step", "recovered_step"];
        keys.iter().for_each(|key| assert_eq!(line.get(*key), Some(&expected[*key]), "{key} of {line}"));
    }
}

#[track_caller]
fn assert_figures_are_of_the_log(run: &Path) {
    assert_forgetting_is_of_the_log(&evaluated(run, "old"));
    let new = evaluated(run, "new");
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    for line in &new {
        assert_eq!(line["learned"].as_f64(), Some(loss(&new[0]) - loss(line)), "{line}");
        assert!(line.get("forgetting").is_none());
    }
    for line in evaluated(run, "other") {
        assert!(["learned", "forgetting"].iter().all(|key| line.get(*key).is_none()), "{line}");
    }
}

#[test]
fn a_phase_says_what_it_forgets_and_learns() {
    let dir = phases();
    let said = line(&dir, "train DIR/phase.toml");
    let out = said.ok();
    let run = dir.join("run");
    assert_figures_are_of_the_log(&run);
    let (old, new) = (evaluated(&run, "old"), evaluated(&run, "new"));
    assert_eq!((old.len(), new.len()), (16, 16));
    let (forgetting, learned) =
        (old[15]["forgetting"].as_f64().unwrap(), new[15]["learned"].as_f64().unwrap());
    assert!(forgetting > 0.1 && learned > 0.1, "the data contradict each other: {forgetting} {learned}");
    let last = out.lines().last().unwrap();
    let told = format!("since step 0: old forgetting {forgetting:+.4}, peak ");
    assert!(last.starts_with(&told) && last.ends_with(&format!("; new learned {learned:+.4}")), "{last}");
    assert!(said.err.contains("step 0  old: loss") && said.err.contains("forgetting +0.0000, never above 0"));

    // Roles change no loss and no weight.
    let plain = fs::read_to_string(dir.join("phase.toml")).unwrap();
    let plain: String = plain.lines().filter(|l| !l.starts_with("role")).map(|l| format!("{l}\n")).collect();
    dir.write("plain.toml", plain.replace("/run\"", "/plain\""));
    let said = line(&dir, "train DIR/plain.toml");
    assert!(!said.ok().contains("since step 0"), "{}", said.out);
    let of_steps = |run: &Path| curve(run).into_iter().filter(|l| l.contains("\"lr\"")).collect::<Vec<_>>();
    assert_eq!(of_steps(&run), of_steps(&dir.join("plain")));
    let weights = |run: &str| fs::read(dir.join(run).join("step-0000000030/model.safetensors")).unwrap();
    assert!(weights("run") == weights("plain"));
}

/// From every checkpoint; killed at any time; and with roles that are given on the way.
#[test]
fn figures_survive_kills_and_resumes() {
    let dir = phases();
    dir.config("phase.toml", &phase("reset", "restart").replace("every = 5", "every = 3\nkeep = 20"));
    line(&dir, "train DIR/phase.toml").ok();
    let run = dir.join("run");
    for step in [3, 9, 12, 27] {
        let again = dir.join("again");
        copy(&run, &again);
        for name in steps(&again).into_iter().filter(|name| name[5..].parse::<u64>().unwrap() > step) {
            fs::remove_dir_all(again.join(name)).unwrap();
        }
        line(&dir, "resume DIR/again").ok();
        assert_equal_runs(&again, &run, &format!("from step {step}"));
        fs::remove_dir_all(&again).unwrap();
    }
    let mut dice = Dice::from_environment();
    for _ in 0..6 {
        let sets = ["--set", "run_dir=\"DIR/killed\"", "--set", "train.steps=30"];
        let mut child = start(&dir, &[&["train", "DIR/phase.toml"], &sets[..]].concat());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|l| l.is_ok_and(|l| l.starts_with("saved"))), "nothing was saved");
        std::thread::sleep(Duration::from_micros(dice.below(20_000) as u64));
        signal(&child, SIGKILL);
        child.wait().unwrap();
        line(&dir, "resume DIR/killed").ok();
        assert_equal_runs(&dir.join("killed"), &run, "killed and resumed");
        fs::remove_dir_all(dir.join("killed")).unwrap();
    }
    // A role is no part of the run: one that is given later has the whole of it.
    copy(&run, &dir.join("later"));
    for name in steps(&dir.join("later")).into_iter().filter(|name| name[5..].parse::<u64>().unwrap() > 15) {
        fs::remove_dir_all(dir.join("later").join(name)).unwrap();
    }
    line(&dir, "resume DIR/later --set data.validation[2].role=retain").ok();
    let (old, other) = (evaluated(&dir.join("later"), "old"), evaluated(&dir.join("later"), "other"));
    assert!(other[7].get("forgetting").is_none() && other[7]["step"] == 14);
    for (other, old) in other.iter().zip(&old).skip(8) {
        assert_eq!(
            other["forgetting_peak"], old["forgetting_peak"],
            "the same tokens under two names: {other}"
        );
    }
}

/// An evaluation that a stop cut short is made again, whatever of it stands in the log by then, and what follows has the
/// figures of an undisturbed run.
#[test]
fn an_evaluation_that_is_owed_is_made_again() {
    let dir = phases();
    dir.config("phase.toml", &phase("reset", "restart").replace("every = 5", "every = 1\nkeep = 40"));
    line(&dir, "train DIR/phase.toml").ok();
    let run = dir.join("run");
    for step in [6, 12] {
        let again = dir.join("again");
        copy(&run, &again);
        for name in steps(&again).into_iter().filter(|name| name[5..].parse::<u64>().unwrap() > step) {
            fs::remove_dir_all(again.join(name)).unwrap();
        }
        // As it is saved by a stop between the first and the second set; the whole evaluation was logged by a resume that
        // was killed later.
        let place = again.join(format!("step-{step:010}"));
        let before = run.join(format!("step-{:010}", step - 1));
        let [mut manifest, earlier] = [&place, &before].map(|step| Manifest::read(&Disk, step).unwrap());
        let gaps = &mut manifest.state.extra["gaps"];
        ["new", "other"].iter().for_each(|set| gaps[*set] = earlier.state.extra["gaps"][*set].clone());
        manifest.state.extra["owes_evaluation"] = true.into();
        fs::write(place.join("manifest.json"), manifest.to_text()).unwrap();
        line(&dir, "resume DIR/again").ok();
        assert_equal_runs(&again, &run, &format!("owed at step {step}"));
        let gaps = |run: &Path| {
            Manifest::read(&Disk, &run.join("step-0000000030")).unwrap().state.extra["gaps"].clone()
        };
        assert_eq!(gaps(&again), gaps(&run));
        fs::remove_dir_all(&again).unwrap();
    }
}

/// What is held out of the sources of a mixture has their roles, in the phase that a branch begins, too, and from a resume that
/// gives one.
#[test]
fn held_out_sets_have_the_roles_of_their_sources() {
    let dir = tiny();
    write_documents(&dir, "old", 3);
    write_documents(&dir, "new", 5);
    let source =
        |name, role| format!("[[data.mixture]]\nname = \"{name}\"\npaths = [\"DIR/{name}\"]\n{role}\n");
    let mixture =
        source("old", "role = \"retain\"") + &source("new", "role = \"learn\"") + &source("more", "");
    write_documents(&dir, "more", 7);
    let one = "train = [\"raw-u16:DIR/tokens.bin\"]\n";
    let text = TINY.replace(one, "validation_fraction = 0.2\n").replace("every = 10", "every = 2");
    dir.config(
        "mixed.toml",
        &text.replacen("[[data.validation]]\n", &(mixture + "[[data.validation]]\n"), 1),
    );
    line(&dir, "train DIR/mixed.toml").ok();
    line(&dir, "branch DIR/run DIR/branch").ok();
    for name in ["run", "branch"] {
        let run = dir.join(name);
        let old = evaluated(&run, "heldout-old");
        assert_eq!(old.len(), 11, "{name}");
        assert_forgetting_is_of_the_log(&old);
        let new = evaluated(&run, "heldout-new");
        let loss = |line: &Value| line["loss"].as_f64().unwrap();
        assert!(
            new.iter().all(|line| line["learned"].as_f64() == Some(loss(&new[0]) - loss(line))),
            "{new:?}"
        );
        let more = evaluated(&run, "heldout-more");
        assert!(more.iter().all(|l| ["learned", "forgetting"].iter().all(|key| l.get(*key).is_none())));
    }

    copy(&dir.join("run"), &dir.join("later"));
    for name in steps(&dir.join("later")).into_iter().filter(|name| name[5..].parse::<u64>().unwrap() > 10) {
        fs::remove_dir_all(dir.join("later").join(name)).unwrap();
    }
    line(&dir, "resume DIR/later --set data.mixture[2].role=retain").ok();
    let (later, all) = (dir.join("later"), evaluated(&dir.join("run"), "heldout-more"));
    for (line, before) in evaluated(&later, "heldout-more").iter().zip(&all).skip(6) {
        assert_eq!(line["loss"], before["loss"]);
        assert_eq!(
            line["forgetting"].as_f64().unwrap(),
            line["loss"].as_f64().unwrap() - all[0]["loss"].as_f64().unwrap()
        );
    }
    assert_eq!(evaluated(&later, "heldout-old").len(), 11);

    // A run of one source, and what cannot be.
    let one = "--unset data.validation --set data.train=[\"DIR/old\"] --set run_dir=\"DIR/single\"";
    line(
        &dir,
        &format!("train DIR/tiny.toml {one} --set data.validation_fraction=0.2 --set data.role=learn"),
    )
    .ok();
    assert!(evaluated(&dir.join("single"), "heldout").iter().all(|line| line["learned"].is_number()));
    let nowhere = "--set run_dir=\"DIR/nowhere\"";
    for (args, words) in [
        (
            format!("tiny.toml {one} --set data.role=learn"),
            ["data.role is \"learn\"", "validation_fraction = 0.01"],
        ),
        (
            "mixed.toml --set data.validation_fraction=0".into(),
            ["data.mixture[0].role", "validation_fraction = 0.01"],
        ),
        ("mixed.toml --set data.role=learn".into(), ["data.role", "data.mixture[0].role"]),
    ] {
        line(&dir, &format!("train DIR/{args} {nowhere}")).refused(&words);
        assert!(!dir.join("nowhere").exists());
    }
}

/// A phase that continues the data of another is compared with its own step 0, and so is a branch.
#[test]
fn a_phase_is_compared_with_its_own_beginning() {
    let dir = phases();
    line(&dir, "train DIR/phase.toml").ok();
    let text = phase("keep", "continue")
        .replace("DIR/base", "DIR/run")
        .replace("DIR/run\"\nthreads", "DIR/third\"\nthreads");
    dir.config("third.toml", &text);
    line(&dir, "train DIR/third.toml").ok();
    line(&dir, "branch DIR/run DIR/branch --set schedule={lr=1e-2}").ok();
    let ended = evaluated(&dir.join("run"), "old").pop().unwrap();
    for name in ["third", "branch"] {
        let run = dir.join(name);
        assert_figures_are_of_the_log(&run);
        let first = &evaluated(&run, "old")[0];
        assert_eq!((&first["loss"], &first["forgetting"]), (&ended["loss"], &json!(0.0)), "{name}");
        assert_eq!(first["forgetting_peak"], 0.0);
    }
}

/// A checkpoint from before gaps were kept goes on without them and says so; so does a set whose sequences are others.
#[test]
fn what_cannot_be_compared_is_said_once() {
    let dir = phases();
    line(&dir, "train DIR/phase.toml").ok();
    for name in steps(&dir.join("run")) {
        if name != "step-0000000020" {
            fs::remove_dir_all(dir.join("run").join(name)).unwrap();
        }
    }
    copy(&dir.join("run"), &dir.join("other"));
    let step = dir.join("run/step-0000000020");
    let mut manifest = Manifest::read(&Disk, &step).unwrap();
    assert!(manifest.state.extra.as_object_mut().unwrap().remove("gaps").is_some());
    fs::write(step.join("manifest.json"), manifest.to_text()).unwrap();
    for (name, sets) in [("run", ""), ("other", "--set eval.sequences=5")] {
        let said = line(&dir, &format!("resume DIR/{name} {sets}"));
        said.ok();
        let warned = |set: &str| said.err.matches(&format!("{set} has a role")).count();
        assert_eq!(["\"old\"", "\"new\"", "\"other\""].map(warned), [1, 1, 0], "{}", said.err);
        let old = evaluated(&dir.join(name), "old");
        assert!(old.len() == 16 && old[11..].iter().all(|line| line.get("forgetting").is_none()), "{name}");
        assert!(!said.out.contains("since step 0"), "{}", said.out);
    }
}

#[test]
fn roles_that_cannot_be_are_refused() {
    let dir = tiny();
    for (value, words) in [
        ("retian", ["data.validation[0].role is \"retian\"", "did you mean \"retain\""]),
        ("keep", ["data.validation[0].role is \"keep\"", "\"retain\", \"learn\""]),
        ("true", ["data.validation[0].role is true", "\"retain\""]),
    ] {
        line(&dir, &format!("train DIR/tiny.toml --set data.validation[0].role={value}")).refused(&words);
        assert!(!dir.join("run").exists());
    }
}
