//! What one rank of pipeline and model parallelism has: its parameters, in the order of the optimizer's groups, and their
//! weights in half precision.
use super::find::Files;
use super::groups::{Group, read_groups};
use super::names::Name;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::torch::{Tensor, TorchFile, Value};
use crate::files::storage::Disk;
use crate::ops::{Part, draw_in_order};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// A parameter of a rank: where it lies in a flat group.
pub(super) struct RankParam {
    pub(super) name: Name,
    pub(super) shape: Vec<usize>,
    group: usize,
    start: usize,
}

/// A rank that is open.
pub(super) struct Rank {
    pub(super) params: Vec<RankParam>,
    pub(super) groups: Vec<Group>,
    /// Of the optimizer.
    files: Vec<TorchFile<'static>>,
    /// Of weights in half precision.
    models: Vec<TorchFile<'static>>,
    /// Which of those, and where in it.
    halves: BTreeMap<Name, (usize, Tensor)>,
}

/// Names and shapes in the order of a flat group.
type Shapes = Vec<(Name, Vec<usize>)>;

impl Rank {
    /// The rank of that number, of `model_ranks` that share each layer.
    pub(super) fn open(found: &Files, number: usize, model_ranks: usize) -> Result<Self> {
        let state = open(&found.states[number])?;
        let is_whole = found.shards[number].is_empty();
        let files = match is_whole {
            true => vec![open(&found.states[number])?],
            false => found.shards[number].iter().map(|path| open(path)).collect::<Result<_>>()?,
        };
        let groups = read_groups(&files)?;
        let stated = [&files[0], &state].into_iter().find_map(|file| file.root().get("param_shapes"));
        let stated = stated.and_then(|shapes| stated_shapes(shapes, groups.len()));
        let (models, halves, order) = open_weights(found, number % model_ranks, state)?;
        let shapes = match is_whole {
            true => {
                let shape = |name: Name| (halves[&name].1.shape().to_vec(), name);
                let own = order.into_iter().filter(Name::is_trained).map(shape);
                split(own.map(|(shape, name)| (name, shape)).collect(), groups.len())
            }
            false => stated,
        };
        let shapes = shapes.ok_or_else(|| {
            Error::refused(format!(
                "{}: which parameters are in the {} groups of the optimizer is not said (param_shapes), or in another way than \
                 GPT-NeoX says it",
                files[0].path().display(),
                groups.len()
            ))
        })?;
        let rank = Self { params: place(shapes), groups, files, models, halves };
        rank.check_lengths()?;
        Ok(rank)
    }

    /// The groups hold what their parameters need and padding beyond, less than two elements for each file.
    fn check_lengths(&self) -> Result<()> {
        for (number, group) in self.groups.iter().enumerate() {
            let own = self.params.iter().filter(|param| param.group == number);
            let need: usize = own.map(RankParam::elements).sum();
            for (part, what) in group.parts.iter().zip(["masters", "first moments", "second moments"]) {
                if !(need..need + 2 * self.files.len()).contains(&part.len()) {
                    return Err(Error::refused(format!(
                        "{}: group {number} of the optimizer has {} {what} in {} files, and its parameters are {need}; copy all \
                         files of the checkpoint again",
                        self.files[0].path().display(),
                        part.len(),
                        self.files.len()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Fills `values` with a part of a parameter from row-major index `first` on.
    pub(super) fn fill(&self, part: Part, param: &RankParam, first: usize, values: &mut [f32]) -> Result<()> {
        let group = &self.groups[param.group];
        let flat = match part {
            Part::First => &group.parts[1],
            Part::Second => &group.parts[2],
            _ => &group.parts[0],
        };
        flat.fill(&self.files, param.start + first, values)
    }

    /// Refuses masters that are not the weights in half precision before they were rounded: then the two are not of one
    /// step, or the groups are laid out in another way.
    pub(super) fn check_masters(&self) -> Result<()> {
        self.params.iter().try_for_each(|param| self.check_master(param))
    }

    fn check_master(&self, param: &RankParam) -> Result<()> {
        let Some((number, half)) = self.halves.get(&param.name) else {
            return Err(Error::refused(format!(
                "{}: {}.{} has a master and no weights in the files of layers; copy all files of the checkpoint",
                self.files[0].path().display(),
                param.name.place,
                param.name.leaf
            )));
        };
        let (file, dtype) = (&self.models[*number], Dtype::from_file(half.dtype()).unwrap_or(Dtype::F32));
        let differs = |at: usize| {
            Error::refused(format!(
                "{}: {}.{} element {at} is not its master in {}, rounded; the files are of two steps, or laid out in a way that \
                 is not known here",
                file.path().display(),
                param.name.place,
                param.name.leaf,
                self.files[0].path().display()
            ))
        };
        if half.shape() != param.shape {
            return Err(differs(0));
        }
        let (mut halves, mut rounded) = (Vec::new(), Vec::new());
        let masters = |first: usize, values: &mut [f32]| self.fill(Part::Weights, param, first, values);
        draw_in_order(&masters, param.elements(), |first, masters| {
            halves.resize(masters.len(), 0.0);
            file.fill(half, first, &mut halves)?;
            let bytes = dtype.encode(masters, &mut rounded).map_err(|at| differs(first + at))?;
            let mut again = vec![0.0; masters.len()];
            dtype.decode(bytes, &mut again);
            let other = halves.iter().zip(&again).position(|(half, again)| half.to_bits() != again.to_bits());
            other.map_or(Ok(()), |at| Err(differs(first + at)))
        })
    }
}

impl RankParam {
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

fn open(path: &Path) -> Result<TorchFile<'static>> {
    TorchFile::open(&Disk, path)
}

/// Files of weights, where each weight is, and their order in the model.
type Weights = (Vec<TorchFile<'static>>, BTreeMap<Name, (usize, Tensor)>, Vec<Name>);

/// The weights in half precision: of a pipeline a file for each layer, else in `state`.
fn open_weights(found: &Files, model_rank: usize, state: TorchFile<'static>) -> Result<Weights> {
    let is_module = state.root().get("module").is_some_and(|module| !module.is_none());
    let models = match is_module {
        true => vec![(None, state)],
        false => {
            let own = found.layers.iter().filter(|((_, rank), _)| *rank == model_rank);
            own.map(|((place, _), path)| Ok((Some(*place), open(path)?))).collect::<Result<_>>()?
        }
    };
    let (mut halves, mut order) = (BTreeMap::new(), Vec::new());
    for (number, (place, file)) in models.iter().enumerate() {
        let root = if is_module { file.root().get("module") } else { Some(file.root()) };
        for (key, value) in root.into_iter().flat_map(Value::entries) {
            let name = match place {
                Some(place) => Some(Name { place: *place, leaf: key.into() }),
                None => Name::parse(key),
            };
            if let (Some(name), Some(tensor)) = (name, value.tensor()) {
                order.push(name.clone());
                halves.insert(name, (number, tensor.clone()));
            }
        }
    }
    Ok((models.into_iter().map(|(_, file)| file).collect(), halves, order))
}

/// `param_shapes`: a dictionary for each group, or one for all of them.
fn stated_shapes(stated: Value, groups: usize) -> Option<Vec<Shapes>> {
    let shapes = |dict: Value| -> Option<Shapes> {
        dict.entries().map(|(name, size)| Some((Name::parse(name)?, size.sizes()?))).collect()
    };
    if stated.is_list() {
        let own: Vec<Shapes> = stated.items().map(shapes).collect::<Option<_>>()?;
        return (own.len() == groups).then_some(own);
    }
    split(shapes(stated)?, groups)
}

/// The groups of GPT-NeoX: matrices, whose weights decay, and norms and biases; all in one where nothing decays.
fn split(all: Shapes, groups: usize) -> Option<Vec<Shapes>> {
    match groups {
        1 => Some(vec![all]),
        2 => {
            let (matrices, vectors) = all.into_iter().partition(|(_, shape)| shape.len() > 1);
            Some(vec![matrices, vectors])
        }
        _ => None,
    }
}

fn place(groups: Vec<Shapes>) -> Vec<RankParam> {
    let mut params = Vec::new();
    for (group, shapes) in groups.into_iter().enumerate() {
        let mut start = 0;
        for (name, shape) in shapes {
            let param = RankParam { name, shape, group, start };
            start += param.elements();
            params.push(param);
        }
    }
    params
}
