//! What a configuration means, and the refusal of what it cannot mean.
use super::refuse::refuse;
use super::sections::ONLY;
use super::*;
use crate::backend::{check_precision, default_precision};
use crate::device;
use crate::model::Init;
use crate::model::{PRESETS, Precision, preset};
use crate::ops::Gelu;
use serde::Deserialize;

impl RawConfig {
    /// Fills in the defaults that depend on other keys and refuses impossible combinations, naming the keys.
    pub fn validate(&self) -> Result<Config> {
        self.check()?;
        let Some(run_dir) = self.run_dir.clone() else {
            return refuse(
                "run_dir is missing; name a directory for the run, such as run_dir = \"runs/first\"",
            );
        };
        let start = self.start.validate()?;
        let device = device::resolve(self.device);
        let model = self.model.validate(start.is_some())?;
        let mut data = self.data.validate()?;
        let keeps = start.as_ref().is_some_and(|start| start.optimizer == OptimizerStart::Keep);
        let unsettled = self.schedule.refers_back().map(|_| self.schedule.clone());
        // Any rate stands in for one that is known when the run starts; without a run to start from it is refused here.
        let previous = start.as_ref().map(|_| self.schedule.number().unwrap_or(1.0));
        let schedule = self.schedule.settled(previous)?.validate_after(keeps)?;
        if let Some(config) = &model.config {
            data.seq_len.get_or_insert(config.max_position_embeddings);
        }
        let config = Config {
            run_dir,
            seed: self.seed,
            threads: self.threads,
            device,
            model,
            start,
            data,
            batch: self.batch.validate()?,
            optim: self.optim.validated()?,
            schedule,
            unsettled,
            train: self.train.validate()?,
            recompute: self.train.recompute,
            precision: self.train.precision.unwrap_or_else(|| default_precision(device)),
            ema: self.train.ema,
            separate_bias_gradients: self.train.separate_bias_gradients,
            eval: self.eval.validated()?,
            checkpoint: self.checkpoint.clone().validated()?,
            tensorboard: self.log.tensorboard,
            head: Head { chunk_rows: self.head.chunk_rows },
        };
        config.check_lengths()?;
        check_precision(device, config.precision)?;
        config.check_ema()?;
        Ok(config)
    }
}

impl Config {
    fn check_ema(&self) -> Result<()> {
        if self.ema.is_some() && self.precision == Precision::Bf16 {
            return refuse(
                "train.ema is given and train.precision is \"bf16\"; the moving average is one of f32 master weights, remove one of the two",
            );
        }
        Ok(())
    }

    /// Sequence and schedule against model and budget, as far as they are known before the model is opened.
    fn check_lengths(&self) -> Result<()> {
        if let Some(model) = &self.model.config {
            self.seq_len(model)?;
        }
        // Whether the run that is continued has a last rate is known once it is opened: any rate stands in.
        let previous = self.start.as_ref().map(|_| self.schedule.lr);
        let check = |seq_len| {
            self.window(seq_len)?;
            self.compile_schedule(seq_len, previous)?;
            self.quantities(seq_len)?;
            self.eval_steps(seq_len)?;
            self.shares(seq_len, 0, self.data.untouched()).map(drop)
        };
        let token_lengths = self.schedule.has_token_lengths()
            || self.batch.has_token_lengths()
            || self.optim.has_token_lengths()
            || self.eval.has_token_lengths()
            || self.data.mixture.iter().any(MixtureSource::has_token_lengths);
        match (self.data.seq_len, self.train) {
            (Some(seq_len), _) => check(seq_len),
            // Nothing depends on the sequence length.
            (None, Budget::Steps(_)) if !token_lengths => check(1),
            (None, _) => Ok(()),
        }
    }
}

impl RawStart {
    fn validate(&self) -> Result<Option<Start>> {
        let Some(from) = self.from.clone() else {
            let given = self.optimizer.map(|_| "optimizer").or(self.data.map(|_| "data"));
            return given.map_or(Ok(None), |key| {
                refuse(format!(
                    "start.{key} is given without start.from; name the model to start from, or remove it"
                ))
            });
        };
        let (optimizer, data) = (self.optimizer.unwrap_or_default(), self.data.unwrap_or_default());
        Ok(Some(Start { from, optimizer, data }))
    }
}

impl RawModel {
    fn validate(&self, started: bool) -> Result<Model> {
        if started {
            return self.of_a_trained_model();
        }
        let config = self.sizes()?;
        config.validate()?;
        for (key, ids) in [
            ("bos_token_id", config.bos_token_id.as_slice()),
            ("eos_token_id", config.eos_token_id.as_slice()),
        ] {
            if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab_size) {
                return refuse(format!(
                    "model.{key} is {id}, model.vocab_size is {}; a token id must be below the vocabulary's size, lower it",
                    config.vocab_size
                ));
            }
        }
        Ok(Model {
            preset: self.preset.clone(),
            config: Some(config),
            init: self.init.unwrap_or_default(),
            gelu: None,
        })
    }

    /// With `start.from`, sizes and weights come from there; only the GELU may be chosen.
    fn of_a_trained_model(&self) -> Result<Model> {
        let fixed = self.preset.as_ref().map(|_| "preset").or(self.init.map(|_| "init"));
        let fixed = fixed.or(self.fields.keys().map(String::as_str).find(|key| *key != "gelu"));
        if let Some(key) = fixed {
            return refuse(format!(
                "model.{key} and start.from are both given; the model in start.from has its sizes already, remove model.{key} (only model.gelu may be chosen)"
            ));
        }
        let gelu = match self.fields.get("gelu") {
            Some(value) => Some(
                Gelu::deserialize(value.clone()).map_err(|e| Error::refused(format!("model.gelu: {e}")))?,
            ),
            None => None,
        };
        Ok(Model { preset: None, config: None, init: Init::default(), gelu })
    }

    /// The preset, if any, with the explicit fields over it. Fields that are the same in every Pythia need not
    /// be given, and `intermediate_size` is `4·hidden_size` unless given.
    fn sizes(&self) -> Result<ModelConfig> {
        let name = self.preset.as_deref();
        let Some(base) = preset(name.unwrap_or(PRESETS[0].0)) else {
            let known: Vec<&str> = PRESETS.iter().map(|preset| preset.0).collect();
            return refuse(format!(
                "model.preset is {:?}; known are {}",
                name.unwrap_or_default(),
                known.join(", ")
            ));
        };
        let needed = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"];
        let missing: Vec<&str> = needed.into_iter().filter(|key| !self.fields.contains_key(*key)).collect();
        if name.is_none() && !missing.is_empty() {
            let keys = missing.iter().map(|key| format!("model.{key}")).collect::<Vec<_>>().join(", ");
            return refuse(format!(
                "{keys} missing; give the sizes, model.preset = \"pythia-70m\", or start.from = a trained model"
            ));
        }
        let as_refused = |e: &dyn std::fmt::Display| Error::refused(format!("model: {e}"));
        let mut table = Table::try_from(&base).map_err(|e| as_refused(&e))?;
        for (key, value) in &self.fields {
            table.insert(key.clone(), value.clone());
        }
        let mut config: ModelConfig = table.try_into().map_err(|e| as_refused(&e))?;
        if !self.fields.contains_key("intermediate_size") {
            config.intermediate_size = config.hidden_size.saturating_mul(4);
        }
        Ok(config)
    }
}

impl RawData {
    fn validate(&self) -> Result<Data> {
        match (&self.train[..], &self.mixture[..]) {
            ([], []) => {
                return refuse(
                    "data.train is missing or empty; list at least one corpus, such as [\"data/pile\"], or several sources as [[data.mixture]]",
                );
            }
            ([], _) | (_, []) => {}
            _ => {
                return refuse(
                    "data.train and data.mixture are both given; make data.train a source of the mixture",
                );
            }
        }
        self.check_roles()?;
        let mixture = super::mixture::validate(&self.mixture)?;
        let sources = mixture.iter().map(|source| &source.name[..]);
        let sources: Vec<&str> = if mixture.is_empty() { vec![ONLY] } else { sources.collect() };
        super::skip::validate(&self.skip, &sources)?;
        let mut names: Vec<String> = Vec::new();
        if self.validation_fraction > 0.0 {
            names.push(HELDOUT.into());
            names.extend(mixture.iter().map(MixtureSource::heldout));
        }
        for (i, set) in self.validation.iter().enumerate() {
            if names.contains(&set.name) {
                return refuse(format!(
                    "data.validation[{i}].name {:?} is taken; names of validation sets must differ (those from {HELDOUT:?} on belong to data.validation_fraction), choose another",
                    set.name
                ));
            }
            if set.paths.is_empty() {
                return refuse(format!("data.validation[{i}].paths is empty; list at least one corpus"));
            }
            names.push(set.name.clone());
        }
        Ok(Data {
            train: self.train.clone(),
            mixture,
            seq_len: self.seq_len,
            window: self.window,
            seed: self.seed,
            split_seed: self.split_seed,
            overlap: self.overlap,
            documents: self.documents,
            positions: self.positions,
            loss_weights: self.loss_weights,
            validation_fraction: self.validation_fraction,
            role: self.role,
            tokenizer: self.tokenizer.clone(),
            skip: self.skip.clone(),
            validation: self.validation.clone(),
        })
    }
}

impl RawData {
    /// Refuses roles of sources of which nothing is held out that they could be for.
    fn check_roles(&self) -> Result<()> {
        if self.role.is_some() && !self.mixture.is_empty() {
            return refuse(
                "data.role is of what is held out of data.train, and data.mixture is given; give its sources roles of their own, such as data.mixture[0].role",
            );
        }
        let sources = self.mixture.iter().enumerate();
        let of_source =
            sources.filter_map(|(i, source)| Some((format!("data.mixture[{i}].role"), source.role?)));
        let mut roles = self.role.map(|role| ("data.role".to_owned(), role)).into_iter().chain(of_source);
        match roles.next() {
            Some((key, role)) if self.validation_fraction == 0.0 => refuse(format!(
                "{key} is {:?}, and data.validation_fraction is 0: nothing is held out whose loss it could be for; set data.validation_fraction = 0.01, or give the role to a set of [[data.validation]]",
                role.to_string()
            )),
            _ => Ok(()),
        }
    }
}

impl Optim {
    pub(super) fn validated(&self) -> Result<Self> {
        for (i, rule) in self.groups.iter().enumerate() {
            if rule.lr_mult.is_none() && rule.weight_decay.is_none() && rule.decay_follows_rate.is_none() {
                return refuse(format!(
                    "optim.groups[{i}] ({:?}) changes nothing; give it lr_mult, weight_decay or decay_follows_rate, or remove it",
                    rule.pattern
                ));
            }
        }
        Ok(self.clone())
    }
}

impl RawTrain {
    fn validate(&self) -> Result<Budget> {
        match (self.steps, self.tokens) {
            (Some(_), Some(_)) => refuse("train.steps and train.tokens are both given; keep one"),
            (None, None) => {
                refuse("train.steps is missing; give train.steps = 1000 or train.tokens = \"10M\"")
            }
            (Some(0), _) | (_, Some(TokenCount(0))) => refuse(
                "train.steps or train.tokens is 0; a run needs at least 1, use `rewarm eval` to only evaluate",
            ),
            (Some(steps), None) => Ok(Budget::Steps(steps)),
            (None, Some(TokenCount(tokens))) => Ok(Budget::Tokens(tokens)),
        }
    }
}

impl Checkpoint {
    fn validated(self) -> Result<Self> {
        if self.every == Cadence::Steps(0) {
            return refuse("checkpoint.every is 0; give at least 1, or train.steps to save only at the end");
        }
        self.milestones.as_ref().map_or(Ok(()), Milestones::check)?;
        Ok(self)
    }
}
