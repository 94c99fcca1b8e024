//! Documents in windows, none cut that fits into one: a block of documents at a time, in an order of their own, by best fit
//! decreasing (Ding et al. 2024, "Fewer truncations improve language modeling", algorithm 1).
//!
//! Which documents a block has is a function of the seed and of what the corpus contains, and how they are packed one of their
//! lengths: the same in every epoch, with nothing kept but the sums of blocks.
use std::collections::BTreeMap;

use super::corpus::Corpus;
use super::permutation::Permutation;
use crate::{Error, Result};

/// Documents that are packed together. Of more the windows are fuller, and it takes longer to find one.
const BLOCK_DOCUMENTS: u64 = 1024;
/// In the place of the epoch in the key of a permutation: it is none of windows.
const OF_DOCUMENTS: u64 = u64::MAX;

/// Which documents of a corpus are packed with which.
#[derive(Debug)]
pub(super) struct Packing {
    /// Tokens of a window.
    pub window: u64,
    /// Documents of the corpus before each shard.
    before: Vec<u64>,
    documents: u64,
    permutation: Permutation,
}

/// What lies in a window, or in those that one long document begins.
pub(super) struct Bin {
    /// Documents of the block, in order.
    pub items: Vec<usize>,
    /// Tokens that are left.
    pub space: u64,
}

impl Packing {
    /// Refused where a shard has no index.
    pub(super) fn new(corpus: &Corpus, window: u64, seed: u64) -> Result<Self> {
        if let Some(shard) = corpus.shards().iter().find(|shard| !shard.has_index()) {
            return Err(Error::refused(format!(
                "order = \"packed\" puts whole documents into windows, and those of {} are not known: it has no .idx; \
                 tokenize the texts with `rewarm data tokenize`, or choose another order",
                shard.path().display()
            )));
        }
        let mut documents = 0;
        let before = corpus.shards().iter().map(|shard| {
            documents += shard.documents();
            documents - shard.documents()
        });
        let before = before.collect();
        let permutation = Permutation::new(documents, seed, corpus.fingerprint(), OF_DOCUMENTS);
        Ok(Self { window, before, documents, permutation })
    }

    pub(super) fn blocks(&self) -> usize {
        self.documents.div_ceil(BLOCK_DOCUMENTS) as usize
    }

    /// Shard and document of those of a block.
    pub(super) fn documents(&self, block: usize) -> impl Iterator<Item = (usize, u64)> {
        let first = block as u64 * BLOCK_DOCUMENTS;
        (first..self.documents.min(first + BLOCK_DOCUMENTS)).map(|rank| {
            let document = self.permutation.apply(rank);
            let shard = self.before.partition_point(|before| *before <= document) - 1;
            (shard, document - self.before[shard])
        })
    }

    /// The block that a document is in.
    pub(super) fn block_of(&self, shard: usize, document: u64) -> usize {
        (self.permutation.invert(self.before[shard] + document) / BLOCK_DOCUMENTS) as usize
    }
}

/// Things of these lengths in windows: the longest first, each in the window with the least space that takes it, the one that
/// was begun last of several, or in a new one. What is longer than a window begins one, and the last of those that it fills
/// takes others, too. What is empty is left out.
pub(super) fn best_fit(lengths: &[u64], window: u64) -> Vec<Bin> {
    let mut items: Vec<usize> = (0..lengths.len()).filter(|item| lengths[*item] > 0).collect();
    items.sort_by_key(|item| std::cmp::Reverse(lengths[*item])); // stable
    let (mut bins, mut by_space) = (Vec::<Bin>::new(), BTreeMap::<u64, Vec<usize>>::new());
    for item in items {
        let length = lengths[item];
        let found = by_space.range_mut(length..).next().and_then(|(_, bins)| bins.pop());
        let bin = found.unwrap_or_else(|| {
            bins.push(Bin { items: Vec::new(), space: length.next_multiple_of(window) });
            bins.len() - 1
        });
        let Bin { items, space } = &mut bins[bin];
        if by_space.get(space).is_some_and(Vec::is_empty) {
            by_space.remove(space);
        }
        items.push(item);
        *space -= length;
        if *space > 0 {
            by_space.entry(*space).or_default().push(bin);
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(lengths: &[u64], window: u64) -> Vec<(Vec<usize>, u64)> {
        best_fit(lengths, window).into_iter().map(|bin| (bin.items, bin.space)).collect()
    }

    #[test]
    fn by_hand() {
        assert_eq!(packed(&[], 8), []);
        assert_eq!(packed(&[3, 0, 8, 5, 2], 8), [(vec![2], 0), (vec![3, 0], 0), (vec![4], 6)]);
        // 19 fills two windows and 3 of a third, which takes 5; 4 and 3 go together.
        assert_eq!(packed(&[4, 5, 19, 3], 8), [(vec![2, 1], 0), (vec![0, 3], 1)]);
        // Of two that leave as much, the one begun last.
        assert_eq!(packed(&[6, 6, 2, 1], 8), [(vec![0, 3], 1), (vec![1, 2], 0)]);
    }

    proptest! {
        /// Everything once, nothing cut that fits, and no two windows that fit into one.
        #[test]
        fn windows_are_full(lengths in prop::collection::vec(0u64..40, 0..200), window in 1u64..30) {
            let bins = best_fit(&lengths, window);
            let mut seen: Vec<usize> = bins.iter().flat_map(|bin| bin.items.clone()).collect();
            seen.sort_unstable();
            let expected: Vec<usize> = (0..lengths.len()).filter(|item| lengths[*item] > 0).collect();
            prop_assert_eq!(seen, expected);
            for bin in &bins {
                let filled: u64 = bin.items.iter().map(|item| lengths[*item]).sum();
                prop_assert_eq!((filled + bin.space) % window, 0);
                prop_assert!(bin.space < window);
                let (first, rest) = bin.items.split_first().unwrap();
                prop_assert!(filled + bin.space == lengths[*first].next_multiple_of(window));
                prop_assert!(rest.iter().all(|item| lengths[*item] <= window));
            }
            let single = bins.iter().filter(|bin| lengths[bin.items[0]] <= window);
            let filled: Vec<u64> = single.map(|bin| window - bin.space).collect();
            for (i, a) in filled.iter().enumerate() {
                prop_assert!(filled[i + 1..].iter().all(|b| a + b > window));
            }
        }
    }
}
