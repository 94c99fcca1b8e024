//! A text and how much its tokens count.

/// A text, and where weights are asked for, how much the tokens of each part of it count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// All of it.
    pub text: String,
    /// Parts of the text, one behind the other up to its end; none where no weights are asked for.
    pub runs: Vec<Stretch>,
}

/// A part of a text whose tokens have one weight. A token belongs to the part in which its first byte lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Byte of the text behind the part.
    pub end: usize,
    /// Weight of its tokens as targets.
    pub weight: f32,
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        Self { text, runs: Vec::new() }
    }
}

impl Document {
    /// All of `text` counts `weight`.
    pub fn weighing(text: String, weight: f32) -> Self {
        Self { runs: vec![Stretch { end: text.len(), weight }], text }
    }

    /// The bytes in `parts`, which are in order and apart, count 1, all others 0.
    pub(super) fn of_parts(text: String, parts: &[(usize, usize)]) -> Self {
        let mut runs: Vec<Stretch> = Vec::new();
        let mut add = |end: usize, weight: f32| match runs.last_mut() {
            Some(last) if last.end == end => {}
            Some(last) if last.weight == weight => last.end = end,
            None if end == 0 => {}
            _ => runs.push(Stretch { end, weight }),
        };
        for (start, end) in parts {
            add(*start, 0.0);
            add(*end, 1.0);
        }
        add(text.len(), 0.0);
        Self { text, runs }
    }

    /// Every weight times `factor`.
    pub(super) fn scale(&mut self, factor: f32) {
        self.runs.iter_mut().for_each(|run| run.weight *= factor);
    }

    /// Weights of tokens that begin at these bytes, which ascend.
    pub(super) fn weights_at(&self, starts: &[usize]) -> Vec<f32> {
        let mut run = 0;
        let weight = |start: &usize| {
            while run + 1 < self.runs.len() && self.runs[run].end <= *start {
                run += 1;
            }
            self.runs.get(run).map_or(1.0, |run| run.weight)
        };
        starts.iter().map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_weigh_as_the_part_they_begin_in() {
        let document = Document::of_parts("0123456789".into(), &[(2, 4), (4, 5), (8, 10)]);
        let runs: Vec<_> = document.runs.iter().map(|run| (run.end, run.weight)).collect();
        assert_eq!(runs, [(2, 0.0), (5, 1.0), (8, 0.0), (10, 1.0)]);
        assert_eq!(document.weights_at(&[0, 1, 2, 4, 5, 7, 8]), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        let none = Document::of_parts("01".into(), &[]);
        assert_eq!(none.weights_at(&[0, 1]), [0.0, 0.0]);
        let all = Document::of_parts("01".into(), &[(0, 2)]);
        assert_eq!(all.runs.len(), 1);
        assert_eq!(Document::from(String::from("x")).weights_at(&[0]), [1.0]);
    }
}
