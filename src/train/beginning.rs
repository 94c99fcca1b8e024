//! The weights that a phase started from, before its step 0, read again: out of the model that it started from, or drawn
//! from the seed once more.
use crate::Result;
use crate::checkpoint::{self, Disk, HfModel, MANIFEST, RunState, Tensors};
use crate::config::Config;
use crate::model::{Init, Model, draw_initial};
use crate::ops::Part;
use std::fmt;
use std::path::PathBuf;

/// Where they are.
enum Place {
    /// Nowhere: they are a function of the seed.
    Seed(Init, u64),
    /// In a step directory or a Hugging Face directory.
    Dir(PathBuf),
}

/// The weights before step 0 of a run that looks at them.
pub struct Beginning {
    place: Place,
    /// It was said that they are not there.
    pub is_told: bool,
}

impl Beginning {
    /// Of a run, where `eval.diagnostics` asks for it.
    pub fn of(config: &Config, state: &RunState) -> Option<Self> {
        let named = config.start.as_ref().map(|start| start.from.clone());
        // A run in `start.from` may have other steps by now.
        let dir = named.map(|named| state.parent.as_ref().map_or(named, PathBuf::from));
        let place = dir.map_or(Place::Seed(config.model.init, config.seed), Place::Dir);
        config.eval.diagnostics.then_some(Self { place, is_told: false })
    }

    /// Says what will be missing in the log of a run that goes on after `step`, or cannot be checked.
    pub fn tell(&self, step: u64, is_known: bool, without_sets: bool) {
        if without_sets {
            log::warn!(
                "eval.diagnostics: the kurtosis of the residual stream is measured on the first validation set, and the run has \
                 none: the log will be without it"
            );
        }
        if let (Place::Dir(dir), false) = (&self.place, is_known || step == 0) {
            log::info!(
                "note: eval.diagnostics is new in this run: weights are compared with those in {} as they are today",
                dir.display()
            );
        }
    }

    /// Opens them for `with`. Whether they are those that the run started from is for it to find out.
    pub fn read<R>(&self, model: &Model, with: impl FnOnce(&Tensors) -> R) -> Result<R> {
        let table = &model.table;
        Ok(match &self.place {
            Place::Seed(init, seed) => with(&|param, first, values| {
                draw_initial(&model.config, param, *init, *seed, first, values);
                Ok(())
            }),
            Place::Dir(dir) if dir.join(MANIFEST).exists() => {
                with(&*checkpoint::open_tensors(&Disk, dir, table, Part::Weights)?)
            }
            Place::Dir(dir) => {
                let model = HfModel::open(dir)?;
                with(&*model.open_tensors(table)?)
            }
        })
    }
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Seed(_, seed) => write!(f, "seed {seed}"),
            Place::Dir(dir) => write!(f, "{}", dir.display()),
        }
    }
}
