//! `rewarm study`: killed wherever, or done by two processes at once, it comes to the same table, byte by byte.
use super::*;
use serde_json::Value;

/// One ancestor, four runs of the grid and two besides.
fn study() -> Dir {
    let dir = tiny();
    dir.write("old.bin", tokens(4, 40_000));
    let base = TINY.replace("run_dir = \"DIR/run\"\nthreads = 2\n", "");
    let base = base.replace("name = \"other\"", "name = \"other\"\nrole = \"retain\"");
    let (model, rest) = base.split_once("[data]").unwrap();
    let sections = format!(
        "[base]\nthreads = 2\n[base.data]{}",
        rest.replace("\n[", "\n[base.").replace("[base.[", "[[base.")
    );
    let sizes = model.trim().trim_start_matches("[model]").trim().replace('\n', ", ");
    let study = format!(
        "dir = \"DIR/study\"\n[grid]\n\"schedule.lr\" = [1e-3, 1e-2]\n\"data.seed\" = [1, 2]\n{sections}\n[base.start]\nfrom = \
         \"ancestor:first\"\n[[ancestor]]\nname = \"first\"\nunset = [\"start\"]\nset = {{ model = {{ {sizes} }}, \
         \"data.train\" = [\"raw-u16:DIR/old.bin\"] }}\n[[cell]]\nname = \"scratch\"\nunset = [\"start\"]\nset = {{ model = \
         {{ {sizes} }} }}\n"
    );
    dir.config("study.toml", &study);
    dir
}

/// The study of [`study`] that nothing disturbed: its table, and where it lies.
fn undisturbed_study() -> &'static (String, Dir) {
    static FOUND: OnceLock<(String, Dir)> = OnceLock::new();
    FOUND.get_or_init(|| {
        let dir = study();
        (line(&dir, "study DIR/study.toml").ok().to_owned(), dir)
    })
}

fn json_of(dir: &Dir) -> String {
    fs::read_to_string(dir.join("study/study.json")).unwrap()
}

#[test]
fn a_table_of_means_and_spreads() {
    let dir = study();
    let listed = line(&dir, "study DIR/study.toml --dry-run --json");
    let runs: Vec<Value> = serde_json::from_str(listed.ok()).unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "first",
            "lr=1e-3,seed=1",
            "lr=1e-3,seed=2",
            "lr=0.01,seed=1",
            "lr=0.01,seed=2",
            "scratch,seed=1",
            "scratch,seed=2"
        ]
    );
    assert!(
        runs.iter().all(|run| run["tokens"] == 20 * 4 * 16 && run["predicted_s"].as_f64().unwrap() > 0.0)
    );
    assert!(!dir.join("study").exists());

    let (table, dir) = undisturbed_study();
    let found: Value = serde_json::from_str(&json_of(dir)).unwrap();
    for group in found["groups"].as_array().unwrap() {
        let of_group = found["cells"].as_array().unwrap().iter();
        let name = group["name"].as_str().unwrap();
        let sets: Vec<&Value> = of_group
            .filter(|cell| cell["name"].as_str().unwrap().starts_with(name))
            .map(|cell| &cell["sets"][0])
            .collect();
        let [a, b] = [0, 1].map(|i| sets[i]["after"].as_f64().unwrap());
        let loss = &group["loss"][0];
        assert!((loss["mean"].as_f64().unwrap() - (a + b) / 2.0).abs() < 1e-12 && loss["runs"] == 2);
        assert!(a != b && (loss["spread"].as_f64().unwrap() - (a - b).abs() / 2f64.sqrt()).abs() < 1e-12);
        let change: f64 =
            sets.iter().map(|set| set["after"].as_f64().unwrap() - set["before"].as_f64().unwrap()).sum();
        assert!((group["change"][0]["mean"].as_f64().unwrap() - change / 2.0).abs() < 1e-12);
        assert!(table.contains(&format!("{:.4} ±", (a + b) / 2.0)), "{table}");
    }
    // Of what is to be retained, the worst of each run, too.
    for group in found["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let mut peaks = Vec::new();
        for seed in [1, 2] {
            let log = dir.join("study/cells").join(format!("{name},seed={seed}/metrics.jsonl"));
            let log = fs::read_to_string(log).unwrap();
            let last = log.lines().rfind(|line| line.contains("\"eval\":")).unwrap();
            let last: Value = serde_json::from_str(last).unwrap();
            peaks.push(last["forgetting_peak"].as_f64().unwrap());
        }
        let mean = group["peak"][0]["mean"].as_f64().unwrap();
        assert!((mean - (peaks[0] + peaks[1]) / 2.0).abs() < 1e-12, "{name}: {mean} {peaks:?}");
        assert!(group["recovered"][0].as_u64().unwrap() <= 2);
    }
    let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["runs", "other", "change", "peak", "recovered"]);
    assert_eq!((found["groups"].as_array().unwrap().len(), found["sets"][0].as_str()), (3, Some("other")));
    // The page of its runs, in which seeds are known as such.
    let page = fs::read_to_string(dir.join("study/report.html")).unwrap();
    assert!(page.contains("\"name\":\"lr=1e-3,seed=2\",\"group\":\"lr=1e-3\""));
    // Cells begin where the ancestor ended.
    let ancestor = &found["ancestors"][0]["sets"][0]["after"];
    assert_eq!(&found["cells"][0]["sets"][0]["before"], ancestor);
}

/// Runs that start from the same weights share their evaluations before the first step, and have the logs of runs alone.
#[test]
fn baselines_are_made_once() {
    let (_, dir) = undisturbed_study();
    let kept = fs::read_dir(dir.join("study/baselines")).unwrap().count();
    assert_eq!(kept, 2, "random weights of one seed, and those of the ancestor");
    for cell in ["lr=1e-3,seed=2", "scratch,seed=2"] {
        let cell = dir.join("study/cells").join(cell);
        let alone = tempfile::tempdir().unwrap();
        let run = alone.path().join("run");
        let config = cell.join("config.toml").display().to_string();
        let out = Command::new(REWARM)
            .args(["train", &config, "--set", &format!("run_dir={}", run.display())])
            .output();
        assert!(out.unwrap().status.success());
        assert_eq!(curve(&run), curve(&cell));
    }
}

/// Those that were damaged are made again.
#[test]
fn damaged_baselines_are_made_again() {
    let (dir, table) = (study(), &undisturbed_study().0);
    assert_eq!(line(&dir, "study DIR/study.toml").ok(), table);
    for entry in fs::read_dir(dir.join("study/baselines")).unwrap() {
        fs::write(entry.unwrap().path(), "{\"eval\":\"oth").unwrap();
    }
    fs::remove_dir_all(dir.join("study/cells")).unwrap();
    let said = line(&dir, "study DIR/study.toml");
    assert_eq!(said.ok(), table);
    assert_eq!(said.err.matches("is no evaluation").count(), 2, "{}", said.err);
}

/// `KILLS=` makes it longer.
#[test]
fn kills_change_nothing() {
    let kills = std::env::var("KILLS").map_or(5, |kills| kills.parse().expect("a number"));
    let (mut dice, mut done) = (Dice::from_environment(), 0);
    let (table, whole) = undisturbed_study();
    while done < kills {
        let dir = study();
        loop {
            let mut child = start(&dir, &["study", "DIR/study.toml"]);
            std::thread::sleep(Duration::from_millis(dice.below(400) as u64));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            signal(&child, SIGKILL);
            child.wait().unwrap();
            done += 1;
        }
        assert_eq!(line(&dir, "study DIR/study.toml").ok(), table);
        assert_eq!(json_of(&dir), json_of(whole));
    }
}

#[test]
fn two_processes_share_a_study() {
    let dir = study();
    let children = [0, 1].map(|_| start(&dir, &["study", "DIR/study.toml"]));
    let said = children.map(rest);
    assert!(said.iter().all(|(code, err)| *code == Some(0) && !err.contains("error:")), "{said:?}");
    let trained = |err: &str| {
        let saved = err.lines().filter(|line| line.starts_with("saved") && line.ends_with("step-0000000020"));
        saved.count()
    };
    let all: usize = said.iter().map(|(_, err)| trained(err)).sum();
    assert_eq!(all, 7, "each is trained once: {said:?}");
    let (table, whole) = undisturbed_study();
    assert_eq!(line(&dir, "study DIR/study.toml").ok(), table);
    assert_eq!(json_of(&dir), json_of(whole));
}

/// A run that fails is a row; one that is another's is left alone.
#[test]
fn what_fails_is_a_row_and_what_is_foreign_is_refused() {
    let dir = study();
    let text = fs::read_to_string(dir.join("study.toml")).unwrap();
    let bad = text.replace(
        "[[cell]]",
        &format!(
            "[[cell]]\nname = \"nothing\"\nset = {{ \"data.train\" = [\"raw-u16:{}\"] }}\n[[cell]]",
            dir.at("gone.bin")
        ),
    );
    dir.write("bad.toml", &bad);
    let said = line(&dir, "study DIR/bad.toml");
    assert_eq!(said.code, 2, "{}", said.err);
    said.one_error(&["2 runs failed", "--retry"]);
    assert!(said.out.contains("failed: nothing,seed=1: ") && said.out.contains("gone.bin"), "{}", said.out);
    assert!(said.out.contains("0 of 2, 2 failed"), "{}", said.out);
    // What failed is not tried again by itself; when it is, with its data there, all is well.
    dir.write("gone.bin", tokens(3, 40_000));
    assert_eq!(line(&dir, "study DIR/bad.toml").code, 2);
    line(&dir, "study DIR/bad.toml --retry").ok();

    let before = tree(&dir.join("study"));
    dir.write("other.toml", text.replace("sequences = 4\nmicro", "sequences = 2\nmicro"));
    line(&dir, "study DIR/other.toml").refused(&["ancestors/first", "another configuration", "move it"]);
    assert_eq!(tree(&dir.join("study")), before);
    // Seeds that a run which starts from another does not look at.
    let seeds = text.replace("\"data.seed\"", "seed").replace(&dir.at("study"), &dir.at("seeds"));
    dir.write("seeds.toml", seeds);
    let said = line(&dir, "study DIR/seeds.toml");
    let told =
        said.ok().lines().find(|line| line.starts_with("the seeds change nothing in: lr=1e-3, lr=0.01;"));
    assert!(told.is_some_and(|line| line.contains("data.seed")), "{}", said.out);
    dir.write("s/cells/scratch,seed=1/note", "mine");
    dir.write("foreign.toml", text.replace(&dir.at("study"), &dir.at("s")));
    line(&dir, "study DIR/foreign.toml").refused(&["scratch,seed=1", "did not begin"]);
    line(&dir, "study DIR/none.toml").refused(&["none.toml"]);
    dir.write("key.toml", text.replace("\"schedule.lr\"", "\"schedule.rl\""));
    line(&dir, "study DIR/key.toml").refused(&["key.toml", "schedule.rl", "schedule.lr"]);
}
