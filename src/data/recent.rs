//! What was made of blocks of a corpus lately, so that it is not made again for every sample.
use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;

/// Blocks that are kept at most, each in the place that its number gives it.
const PLACES: usize = 1024;

/// A block and what was made of it.
type Made<T> = Mutex<Option<(usize, Arc<T>)>>;

/// By block, what was made of it last; of two with one place, the later one.
#[derive(Debug)]
pub(super) struct Recent<T> {
    places: Box<[Made<T>]>,
}

impl<T> Recent<T> {
    /// Nothing, of so many blocks.
    pub(super) fn new(blocks: usize) -> Self {
        Self { places: (0..blocks.clamp(1, PLACES)).map(|_| Mutex::new(None)).collect() }
    }

    /// What is kept of a block, or what `make` makes of it. Two that ask at once may both make it.
    pub(super) fn get(&self, block: usize, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let place = &self.places[block % self.places.len()];
        // What is written is whole, whatever became of the one who wrote it.
        let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().as_ref().filter(|(of, _)| *of == block).map(|(_, made)| made.clone());
        if let Some(made) = kept {
            return Ok(made);
        }
        let made = Arc::new(make()?);
        *lock() = Some((block, made.clone()));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_place_replace_each_other() {
        let recent = Recent::new(PLACES + 1);
        let get = |block: usize, now: u32| *recent.get(block, || Ok(now)).unwrap();
        assert_eq!([get(0, 1), get(0, 2), get(1, 3)], [1, 1, 3]);
        assert_eq!([get(PLACES, 4), get(0, 5), get(1, 6)], [4, 5, 3]);
        let failed = recent.get(7, || Err(crate::Error::refused("no")));
        assert!(failed.is_err() && get(7, 8) == 8);
    }
}
