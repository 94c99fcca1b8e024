//! Where a source stands in its order, known by what it contains: what phases hand on to each other.
use serde::{Deserialize, Serialize};

use super::mixture::Source;
use super::order::OrderKey;
use super::shares::Dealt;

/// A source of a chain of phases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Name that it had last.
    pub name: String,
    /// Its order.
    #[serde(flatten)]
    pub key: OrderKey,
    /// Tokens of its order behind it, those that it passed over included.
    pub position: u64,
    /// Tokens that it gave.
    pub given: u64,
}

impl Standing {
    /// Of source `i` where this was dealt out.
    pub fn of(source: &Source, i: usize, dealt: &Dealt) -> Self {
        let Source { name, order } = source;
        let seq_len = order.seq_len() as u64;
        let (position, given) = (dealt.token(i, seq_len), dealt.given(i, seq_len));
        Self { name: name.clone(), key: order.key(), position, given }
    }
}
