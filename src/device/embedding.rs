//! What `embedding_bwd` needs to know about a batch: which rows add to which token, in their order. Sorting on the
//! host costs about 40 ns a token, while the device computes; no atomics, no sort kernel, one writer per row of `dw`.

/// Rows that one warp adds up; tokens with more are shared by the warps of a block.
const SHORT: usize = 32;

/// The rows of a batch by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingPlan {
    /// Rows sorted by token, those of a token in their order.
    pub order: Vec<i32>,
    /// Token, first, end in `order`, 0: the tokens with more than 32 rows, then the others.
    pub segments: Vec<[i32; 4]>,
    /// How many tokens have more than 32 rows, and how many do not.
    pub counts: [i32; 2],
}

impl EmbeddingPlan {
    /// Of the tokens of a batch, none negative.
    pub fn new(tokens: &[i32]) -> Self {
        let mut keys: Vec<u64> = (0..).zip(tokens).map(|(row, &t)| (t as u64) << 32 | row).collect();
        keys.sort_unstable();
        let (mut long, mut short) = (Vec::new(), Vec::new());
        let mut first = 0;
        for rows in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            let end = first + rows.len();
            let segments = if rows.len() > SHORT { &mut long } else { &mut short };
            segments.push([(rows[0] >> 32) as i32, first as i32, end as i32, 0]);
            first = end;
        }
        let counts = [long.len() as i32, short.len() as i32];
        long.append(&mut short);
        Self { order: keys.iter().map(|&k| k as u32 as i32).collect(), segments: long, counts }
    }

    /// How many tokens of `rows` can have more than 32 rows: the grid, which does not depend on the tokens.
    pub fn long_max(rows: usize) -> usize {
        rows / (SHORT + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order() {
        let mut tokens = vec![7; 40];
        tokens.extend([3, 9, 3]);
        tokens[20] = 9;
        let plan = EmbeddingPlan::new(&tokens);
        assert_eq!(plan.counts, [1, 2]);
        assert_eq!(plan.segments, [[7, 2, 41, 0], [3, 0, 2, 0], [9, 41, 43, 0]]);
        assert_eq!(plan.order[..3], [40, 42, 0]);
        assert_eq!(plan.order[39..], [38, 39, 20, 41]);
        assert!(plan.counts[0] as usize <= EmbeddingPlan::long_max(tokens.len()));
        assert_eq!(EmbeddingPlan::new(&[]).counts, [0, 0]);
    }
}
