//! What `data.skip` leaves out of each source.
use crate::config::{Data, Documents, Skip};
use crate::data::{LeftOut, Sources};
use crate::{Error, Result};

/// What every source leaves out, in order; `data` names them. Refused where a name or a number leads nowhere, or where
/// nothing would be left.
pub fn left_out(data: &Data, sources: &Sources) -> Result<Vec<LeftOut>> {
    let names = data.sources();
    let mut found = vec![(Vec::new(), Vec::new()); sources.list().len()];
    for skip in &data.skip {
        match skip {
            Skip::Samples { range, source } => {
                let named = |name: &String| names.iter().position(|(known, _)| known == name);
                let place = source.as_ref().map_or(Some(0), named).expect("names were checked");
                found[place].0.push(range.clone());
            }
            Skip::Documents(documents) => {
                let (source, shard) = sources.find_shard(&documents.shard)?;
                let order = &sources.list()[source].order;
                check(documents, order.corpus().shards()[shard].documents())?;
                for document in documents.range.clone() {
                    found[source].1.extend(order.positions_of(shard, document)?);
                }
            }
        }
    }
    let left_out: Vec<LeftOut> =
        found.into_iter().map(|(samples, positions)| LeftOut::new(samples, positions)).collect();
    for (source, left_out) in sources.list().iter().zip(&left_out) {
        if left_out.takes_all(&source.order) {
            return Err(Error::refused(format!(
                "data.skip leaves nothing of the source {:?}: each of the {} samples of an epoch has a token of a document \
                 that is left out; give the source a share of 0 instead, or leave fewer out",
                source.name,
                source.order.epoch_tokens().div_ceil(source.order.seq_len() as u64)
            )));
        }
    }
    Ok(left_out)
}

/// Refuses documents that a shard with so many does not have.
pub fn check(documents: &Documents, count: u64) -> Result<()> {
    if documents.range.end <= count {
        return Ok(());
    }
    Err(Error::refused(format!("{documents}: the shard has {count} documents, 0..{count}")))
}
