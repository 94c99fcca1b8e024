//! Which runs a study has: names, places and configurations, all of them valid before the first one is begun.
use std::path::{Path, PathBuf};

use toml::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::file::{ANCESTOR, Named, Study};
use super::label::{as_file_name, label, short};
use crate::config::{Config, RawConfig};
use crate::model::ModelConfig;
use crate::train::OpenModel;
use crate::{Error, Result};

/// Bytes of a directory's name: less than file systems take, for what lies beside it (`NAME.json`, its drafts).
const NAME_MAX: usize = 200;

/// A run of a study.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Name in tables.
    pub name: String,
    /// What runs that differ in seeds alone have in common: their name without those.
    pub group: String,
    /// Its settings, without seeds, as they are shown: key and value.
    pub settings: Vec<(String, String)>,
    /// Its configuration; its directory is part of that.
    pub config: Config,
    /// The ancestor it starts from.
    pub after: Option<usize>,
    /// Of the configuration, without what cannot change a result, and of the ancestors'.
    pub fingerprint: String,
}

/// All runs of a study.
#[derive(Clone, Debug)]
pub struct StudyPlan {
    /// Where they live.
    pub dir: PathBuf,
    /// Those that others start from, each behind its own ancestor.
    pub ancestors: Vec<Planned>,
    /// Those that are compared.
    pub cells: Vec<Planned>,
}

/// A key and a value of it, with its number on its axis.
type Setting<'a> = (&'a str, &'a Value, usize);

impl StudyPlan {
    /// Refused where the configuration of a run is not valid, two runs are the same or have one name, or an ancestor is not
    /// known.
    pub fn new(study: &Study) -> Result<Self> {
        let mut plan = Self { dir: study.dir.clone(), ancestors: Vec::new(), cells: Vec::new() };
        for named in &study.ancestor {
            let planned = plan.planned(study, ("ancestors", &named.name), Some(named), &[])?;
            plan.ancestors.push(planned);
        }
        let keys: Vec<&str> = study.grid.keys().map(String::as_str).collect();
        let (seeds, others): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| is_seed(key));
        let repeats = combinations(study, &seeds);
        if !others.is_empty() || study.cell.is_empty() {
            for settings in combinations(study, &others) {
                plan.add(study, None, (settings, &keys), &repeats)?;
            }
        }
        for named in &study.cell {
            plan.add(study, Some(named), (Vec::new(), &keys), &repeats)?;
        }
        Ok(plan)
    }

    /// Adds a cell for every seed.
    fn add(
        &mut self,
        study: &Study,
        named: Option<&Named>,
        (settings, keys): (Vec<Setting>, &[&str]),
        repeats: &[Vec<Setting>],
    ) -> Result<()> {
        let shown = |settings: &[Setting]| -> Vec<(String, String)> {
            let pair = |(key, value, number): &Setting| (short(key, keys).to_owned(), label(value, *number));
            settings.iter().map(pair).collect()
        };
        let joined = |pairs: Vec<(String, String)>| {
            let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
            pairs.join(",")
        };
        let group = named.map_or_else(|| joined(shown(&settings)), |named| named.name.clone());
        for seeds in repeats {
            let parts = [group.clone(), joined(shown(seeds))];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let name = if parts.is_empty() { "base".to_owned() } else { parts.join(",") };
            let all: Vec<Setting> = settings.iter().chain(seeds).copied().collect();
            let mut planned = self.planned(study, ("cells", &name), named, &all)?;
            planned.group = if group.is_empty() { "base".to_owned() } else { group.clone() };
            planned.settings = shown(&settings);
            self.refuse_twins(&planned)?;
            self.cells.push(planned);
        }
        Ok(())
    }

    fn refuse_twins(&self, new: &Planned) -> Result<()> {
        let same = |cell: &&Planned| {
            cell.fingerprint == new.fingerprint || cell.config.run_dir == new.config.run_dir
        };
        let Some(other) = self.cells.iter().find(same) else { return Ok(()) };
        let what =
            if other.fingerprint == new.fingerprint { "are the same run" } else { "have one directory" };
        Err(Error::refused(format!(
            "the cells {:?} and {:?} {what}; remove or rename one",
            other.name, new.name
        )))
    }

    fn planned(
        &self,
        study: &Study,
        (folder, name): (&str, &str),
        named: Option<&Named>,
        settings: &[Setting],
    ) -> Result<Planned> {
        let kind = folder.trim_end_matches('s');
        let file_name = as_file_name(name);
        if file_name.len() > NAME_MAX {
            return Err(Error::refused(format!(
                "the name of the {kind} {name:?} has {} characters, and a directory may have {NAME_MAX}: give the grid fewer keys \
                 or shorter values, or make it a [[cell]] with a name of its own",
                file_name.len()
            )));
        }
        let run_dir = self.dir.join(folder).join(file_name);
        let as_set = |(key, value): (&str, &Value)| format!("{key}={value}");
        let of_cell =
            named.into_iter().flat_map(|named| &named.set).map(|(key, value)| (key.as_str(), value));
        let of_grid = settings.iter().map(|(key, value, _)| (*key, *value));
        let sets: Vec<String> = of_grid.chain(of_cell).map(as_set).collect();
        let unset = named.map_or(&[][..], |named| &named.unset);
        let within = |e: Error| e.within(&format!("{kind} {name:?}"));
        let mut raw = RawConfig::from_table(study.base.clone(), "[base]", unset, &sets).map_err(within)?;
        if raw.run_dir.is_some() {
            return Err(within(Error::refused("it sets run_dir, which a study gives; leave it out")));
        }
        raw.run_dir = Some(run_dir);
        let after = self.ancestor_of(&mut raw.start.from).map_err(within)?;
        let config = raw.validate().map_err(within)?;
        let fingerprint = fingerprint(&config, after.map(|i| &self.ancestors[i]));
        let (name, group) = (name.to_owned(), name.to_owned());
        Ok(Planned { name, group, settings: Vec::new(), config, after, fingerprint })
    }

    /// Puts the directory of an ancestor in the place of its name.
    fn ancestor_of(&self, from: &mut Option<PathBuf>) -> Result<Option<usize>> {
        let Some(named) = from.as_deref().and_then(Path::to_str).and_then(|from| from.strip_prefix(ANCESTOR))
        else {
            return Ok(None);
        };
        let (name, step) = named.split_once('/').map_or((named, None), |(name, step)| (name, Some(step)));
        let Some(i) = self.ancestors.iter().position(|ancestor| ancestor.name == name) else {
            let known: Vec<&str> = self.ancestors.iter().map(|ancestor| ancestor.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::refused(format!(
                "start.from is \"{ANCESTOR}{named}\", and no [[ancestor]] before it is called {name:?} (there are: {known})"
            )));
        };
        let dir = &self.ancestors[i].config.run_dir;
        *from = Some(step.map_or_else(|| dir.clone(), |step| dir.join(step)));
        Ok(Some(i))
    }

    /// The model that a run trains. Refused where it starts from one that cannot be read.
    pub fn model_of(&self, run: &Planned) -> Result<ModelConfig> {
        match (run.config.model_config()?, run.after, &run.config.start) {
            (Some(sizes), ..) => Ok(sizes),
            (None, Some(ancestor), _) => self.model_of(&self.ancestors[ancestor]),
            (None, None, Some(start)) => Ok(OpenModel::open(&start.from)?.config().clone()),
            (None, None, None) => Err(Error::refused("no model: name a preset, its sizes, or start.from")),
        }
        .map_err(|e| e.within(&run.name))
    }

    /// Every run, ancestors first.
    pub fn runs(&self) -> impl Iterator<Item = &Planned> {
        self.ancestors.iter().chain(&self.cells)
    }
}

/// Whether a key repeats runs instead of making them others.
fn is_seed(key: &str) -> bool {
    key.rsplit('.').next() == Some("seed")
}

/// Every combination of the values of these keys, the last key changing fastest; of none there is one.
fn combinations<'a>(study: &'a Study, keys: &[&'a str]) -> Vec<Vec<Setting<'a>>> {
    keys.iter().fold(vec![Vec::new()], |before, key| {
        let with = |(i, value): (usize, &'a Value), settings: &Vec<Setting<'a>>| {
            settings.iter().copied().chain([(*key, value, i)]).collect()
        };
        before
            .iter()
            .flat_map(|settings| study.axis(key).iter().enumerate().map(move |value| with(value, settings)))
            .collect()
    })
}

/// Whatever the number of threads, the bits are the same: another machine may go on with it.
fn fingerprint(config: &Config, ancestor: Option<&Planned>) -> String {
    let plain = Config { run_dir: PathBuf::new(), threads: 0, ..config.clone() };
    let ancestors = ancestor.map_or("", |ancestor| &ancestor.fingerprint);
    format!("{:032x}", xxh3_128(format!("{}\n{ancestors}", plain.resolved_toml()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = r#"
dir = "s"
[base]
data = { train = ["new"] }
train = { steps = 10 }
schedule = { name = "cosine", lr = 1e-3 }
[grid]
"schedule.lr" = [3e-4, 3e-3]
"start.from" = ["ancestor:up", "ancestor:up/step-0000000005"]
"seed" = [1, 2, 3]
[[ancestor]]
name = "up"
set = { "model.preset" = "pythia-14m", "data.train" = ["old"] }
[[cell]]
name = "scratch"
set = { "model.preset" = "pythia-14m", schedule = { name = "constant", lr = 1e-3 } }
"#;

    fn plan(text: &str) -> Result<StudyPlan> {
        StudyPlan::new(&Study::parse(text, "s.toml")?)
    }

    #[test]
    fn a_run_for_every_combination_and_seed() {
        let plan = plan(STUDY).unwrap();
        let names: Vec<&str> = plan.cells.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names.len(), 2 * 2 * 3 + 3);
        assert_eq!(
            names[..4],
            [
                "lr=3e-4,from=up,seed=1",
                "lr=3e-4,from=up,seed=2",
                "lr=3e-4,from=up,seed=3",
                "lr=3e-4,from=up/step-0000000005,seed=1"
            ]
        );
        assert_eq!(names[12..], ["scratch,seed=1", "scratch,seed=2", "scratch,seed=3"]);
        let cell = &plan.cells[3];
        assert_eq!(cell.group, "lr=3e-4,from=up/step-0000000005");
        assert_eq!(cell.config.run_dir, Path::new("s/cells/lr=3e-4,from=up_step-0000000005,seed=1"));
        let from = &cell.config.start.as_ref().unwrap().from;
        assert_eq!((from.as_path(), cell.after), (Path::new("s/ancestors/up/step-0000000005"), Some(0)));
        assert_eq!((cell.config.seed, plan.cells[12].after), (1, None));
        // What an ancestor is trained on is part of what its cells are; threads are not.
        let other =
            |from: &str, to: &str| self::plan(&STUDY.replace(from, to)).unwrap().cells[0].fingerprint.clone();
        assert_ne!(other("[\"old\"]", "[\"older\"]"), plan.cells[0].fingerprint);
        assert_eq!(other("[base]\n", "[base]\nthreads = 3\n"), plan.cells[0].fingerprint);
    }

    /// Those of the papers: every run is valid, and there are as many as docs/continual.md says.
    #[test]
    fn the_studies_of_the_papers_are_valid() {
        for (name, ancestors, cells) in [("gupta2023", 1, 36), ("ibrahim2024", 5, 21)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/studies");
            let study = Study::load(&folder.join(format!("{name}.toml"))).unwrap();
            let plan = StudyPlan::new(&study).unwrap();
            assert_eq!((plan.ancestors.len(), plan.cells.len()), (ancestors, cells), "{name}");
        }
    }

    #[test]
    fn what_makes_no_runs_is_refused() {
        for (from, to, words) in [
            ("\"schedule.lr\"", "\"schedule.lrr\"", vec!["cell", "schedule.lrr", "schedule.lr"]),
            ("ancestor:up\"", "ancestor:down\"", vec!["ancestor:down", "there are: up"]),
            ("3e-4, 3e-3", "3e-4, 3e-4", vec!["are the same run"]),
            ("3e-4, 3e-3", "3e-4, -1.0", vec!["lr=-1"]),
            (
                "[[cell]]\nname = \"scratch\"",
                "[[cell]]\nname = \"lr\"\nunset = [\"nope.x\"]",
                vec!["cell \"lr", "nope"],
            ),
            (
                "ancestor:up/step-0000000005",
                &*format!("ancestor:up/{}", "s".repeat(200)),
                vec!["may have 200", "[[cell]]"],
            ),
            (
                "\"pythia-14m\", schedule",
                "\"pythia-14m\", run_dir = \"x\", schedule",
                vec!["run_dir", "leave it out"],
            ),
        ] {
            let message = plan(&STUDY.replace(from, to)).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
}
