//! The optimizer's flat groups of one rank of model parallelism: masters and both moments.
use super::flat::Flat;
use crate::checkpoint::torch::{TorchFile, Value};
use crate::{Error, Result};

/// One group of the optimizer.
#[derive(Default)]
pub(super) struct Group {
    /// Masters in f32, first moments, second moments.
    pub(super) parts: [Flat; 3],
    /// Steps that Adam counted, where that is saved.
    pub(super) step: Option<u64>,
    /// The last rate, where that is saved.
    pub(super) lr: Option<f64>,
}

/// The key of masters that are cut into sub-partitions, interval by interval.
const MASTERS_V1: &str = "local_sub_partitions_of_fp32_groups";
/// The key of masters that are cut into one partition for each rank.
const MASTERS_V2: &str = "single_partition_of_fp32_groups";
/// The key of masters that are whole.
const MASTERS_WHOLE: &str = "fp32_groups_flat";
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

/// The groups, of the files of all ranks of data parallelism, in their order; of stage 0, of the one file.
pub(super) fn read_groups(files: &[TorchFile]) -> Result<Vec<Group>> {
    let states = files.iter().map(|file| Ok((file, optimizer(file)?))).collect::<Result<Vec<_>>>()?;
    let first = states.first().expect("there is a file");
    let count = first.1.masters().len();
    (0..count).map(|group| read_group(&states, group)).collect()
}

fn read_group(states: &[(&TorchFile, Optimizer)], group: usize) -> Result<Group> {
    let mut read = Group::default();
    let bad = |file: &TorchFile, what: &str| {
        Error::refused(format!(
            "{}: {what} of group {group} of the optimizer is not there, or not as GPT-NeoX saves it; copy the file again",
            file.path().display()
        ))
    };
    for (part, what) in
        read.parts.iter_mut().zip(["the masters", "the first moment", "the second moment"].iter().enumerate())
    {
        let (place, what) = what;
        let pieces = states.iter().map(|(file, state)| {
            let pieces =
                if place == 0 { state.master(group) } else { state.moment(group, MOMENTS[place - 1]) };
            pieces.ok_or_else(|| bad(file, what))
        });
        let pieces = pieces.collect::<Result<Vec<_>>>()?;
        let intervals = pieces[0].len();
        if let Some(other) = pieces.iter().position(|own| own.len() != intervals) {
            return Err(bad(states[other].0, what));
        }
        for interval in 0..intervals {
            for (number, (own, (file, _))) in pieces.iter().zip(states).enumerate() {
                let tensor = own[interval].tensor().ok_or_else(|| bad(file, what))?;
                part.push(number, tensor);
            }
        }
    }
    let (file, state) = &states[0];
    read.step = state.step(file, group)?;
    read.lr = state.of_group(group, "lr").and_then(Value::number);
    Ok(read)
}

/// What one file has of the optimizer.
struct Optimizer<'a> {
    layout: Layout,
    masters: Value<'a>,
    /// Of the optimizer inside, which computes the steps.
    base: Value<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Lists of lists: group, interval.
    Intervals,
    /// A list: group.
    Whole,
}

fn optimizer<'a>(file: &'a TorchFile) -> Result<Optimizer<'a>> {
    let root = file.root();
    // A shard of ZeRO, or the states of stage 0.
    let outer = root.get("optimizer_state_dict").or_else(|| root.get("optimizer"));
    let found = outer.and_then(|outer| {
        let (layout, masters) = match (outer.get(MASTERS_V1), outer.get(MASTERS_V2), outer.get(MASTERS_WHOLE))
        {
            (Some(masters), ..) => (Layout::Intervals, masters),
            (_, Some(masters), _) | (.., Some(masters)) => (Layout::Whole, masters),
            _ => return None,
        };
        let base = outer.get("base_optimizer_state").or_else(|| outer.get("optimizer_state_dict"))?;
        Some(Optimizer { layout, masters, base })
    });
    let found = found.ok_or_else(|| {
        Error::refused(format!(
            "{}: it holds no state of an optimizer of ZeRO stage 0 or 1 in half precision ({MASTERS_V1}, {MASTERS_V2} or \
             {MASTERS_WHOLE}); other stages and optimizers are not imported",
            file.path().display()
        ))
    })?;
    if found.layout == Layout::Intervals && !found.base.is_list() {
        return Err(Error::refused(format!(
            "{}: its moments were saved with elastic_checkpoint = false, which is not imported; resume in GPT-NeoX and save \
             with the default",
            file.path().display()
        )));
    }
    Ok(found)
}

impl<'a> Optimizer<'a> {
    fn masters(&self) -> impl ExactSizeIterator<Item = Value<'a>> {
        self.masters.items()
    }

    /// The pieces of the masters, one for each interval.
    fn master(&self, group: usize) -> Option<Vec<Value<'a>>> {
        let own = self.masters.at(group)?;
        Some(if self.layout == Layout::Intervals { own.items().collect() } else { vec![own] })
    }

    /// The pieces of a moment, one for each interval.
    fn moment(&self, group: usize, name: &str) -> Option<Vec<Value<'a>>> {
        if self.layout == Layout::Intervals {
            return self.base.at(group)?.items().map(|interval| interval.get(name)).collect();
        }
        Some(vec![self.state(group)?.get(name)?])
    }

    /// What PyTorch's optimizers keep of one group.
    fn state(&self, group: usize) -> Option<Value<'a>> {
        self.base.get("state").unwrap_or(self.base).at(group)
    }

    /// A setting of a group.
    fn of_group(&self, group: usize, key: &str) -> Option<Value<'a>> {
        self.base.get("param_groups")?.at(group)?.get(key)
    }

    /// DeepSpeed's Adam counts its steps beside the moments, apex's beside the settings, and PyTorch's in a tensor.
    fn step(&self, file: &TorchFile, group: usize) -> Result<Option<u64>> {
        if self.layout == Layout::Intervals {
            return Ok(None);
        }
        let step =
            self.state(group).and_then(|state| state.get("step")).or_else(|| self.of_group(group, "step"));
        match step.and_then(Value::tensor) {
            Some(tensor) if tensor.elements() == 1 => {
                let mut value = [0.0];
                file.fill(tensor, 0, &mut value)?;
                Ok(Some(value[0] as u64))
            }
            _ => Ok(step.and_then(Value::count)),
        }
    }
}
