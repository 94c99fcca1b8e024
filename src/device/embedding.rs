//! What `embedding_bwd` needs to know about a batch: which rows add to which token, in their order. Sorting on
//! the host costs about 10 ns a token (126 us for 16,384) while the device computes; no atomics, no sort kernel,
//! one writer per row of `dw`.

/// Rows that one warp adds up; tokens with more are shared by the warps of a block.
const SHORT: usize = 32;

/// The rows of a batch by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingPlan {
    /// Rows sorted by token, those of a token in their order.
    pub order: Vec<i32>,
    /// Token, first, end in `order`, 0: `long_max` places for tokens with more than 32 rows, then one per row for
    /// the others; zeros in those left over.
    pub segments: Vec<[i32; 4]>,
}

impl EmbeddingPlan {
    /// Of the tokens of a batch, none negative.
    pub fn new(tokens: &[i32]) -> Self {
        let mut keys: Vec<u64> = (0..).zip(tokens).map(|(row, &t)| (t as u64) << 32 | row).collect();
        keys.sort_unstable();
        let (mut long, mut short) = (0, Self::long_max(tokens.len()));
        let mut segments = vec![[0; 4]; short + tokens.len()];
        let mut first = 0;
        for rows in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            let end = first + rows.len();
            let next = if rows.len() > SHORT { &mut long } else { &mut short };
            segments[*next] = [(rows[0] >> 32) as i32, first as i32, end as i32, 0];
            *next += 1;
            first = end;
        }
        Self { order: keys.iter().map(|&k| k as u32 as i32).collect(), segments }
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
        assert_eq!(plan.segments[..3], [[7, 2, 41, 0], [3, 0, 2, 0], [9, 41, 43, 0]]);
        assert!(plan.segments.len() == 44 && plan.segments[3..].iter().all(|s| *s == [0; 4]));
        assert_eq!(plan.order[..3], [40, 42, 0]);
        assert_eq!(plan.order[39..], [38, 39, 20, 41]);
        assert_eq!(EmbeddingPlan::new(&[]).segments.len(), 0);
    }
}
