//! What a session settles before its first step: memory, the settings of tensors, what its schedule remembers, and
//! whether what it is about to read can be read.
use super::deal::Deal;
use super::evaluate::Evaluation;
use crate::backend;
use crate::config::{Config, Optim};
use crate::data::Sources;
use crate::device::Device;
use crate::model::{Model, Purpose};
use crate::ops::{AdamParam, Shape};
use crate::optim::{assign, decay_by_depth};
use crate::{Error, Result};

/// The run's rows of logits at once: its own, or what fits into the memory of the device, from now on its own.
pub fn settle_chunk_rows(
    config: &mut Config,
    model: &Model,
    shape: Shape,
    device: Option<&dyn Device>,
) -> Result<usize> {
    if let Some(rows) = config.head.chunk_rows {
        return Ok(rows);
    }
    let most = backend::most_chunk_rows(config.device);
    let rows = match backend::free_memory(device)? {
        Some(free) => {
            let (use_, threads) = ((shape, Purpose::Train(config.recompute)), rayon::current_num_threads());
            backend::chunk_rows(config.device, &model.config, &model.table, use_, threads, free)
        }
        None => most,
    };
    if rows < most {
        log::info!(
            "head.chunk_rows is {rows} in this run: {most}, the default, need more memory than is free"
        );
    }
    config.head.chunk_rows = Some(rows);
    Ok(rows)
}

/// The settings of every tensor; refused where nothing is trained.
pub fn params(model: &Model, optim: &Optim) -> Result<Vec<AdamParam>> {
    let mut params = assign(&model.table, &optim.groups, optim.weight_decay);
    decay_by_depth(&model.table, optim.layer_decay, &mut params);
    if params.iter().all(AdamParam::is_frozen) {
        return Err(Error::refused(
            "optim.groups sets lr_mult = 0 on every tensor, and nothing is left to train; leave some out, or use \
             `rewarm eval` to only evaluate",
        ));
    }
    Ok(params)
}

/// Refuses tokens that the model has no row for, as far as they are met at the start: in the next batch, and in the first
/// windows of every set. `data verify` reads all.
pub fn check_tokens(
    sources: &Sources,
    deal: &Deal,
    sequences: u64,
    evaluations: &[Evaluation],
    model: &Model,
) -> Result<()> {
    const MOST: u64 = 1024;
    let vocab = model.config.vocab_size as u32;
    let (mut cursor, mut window) = (deal.cursor.clone(), vec![0; sources.seq_len() + 1]);
    for _ in 0..sequences.min(MOST) {
        let turn = sources.turn(&deal.shares, &deal.left_out, &mut cursor);
        let order = &sources.list()[turn.source].order;
        for piece in order.pieces(turn.sample) {
            order.read_piece(piece, &mut window[..=piece.targets as usize], vocab)?;
        }
    }
    evaluations.iter().try_for_each(|set| set.check_tokens(vocab))
}

/// A name for the run, which no other has.
pub fn run_id() -> Result<String> {
    let random = getrandom::u64()
        .map_err(|e| Error::failed(format!("the system gives no random numbers to name the run by: {e}")))?;
    Ok(format!("{random:016x}"))
}
