//! Where the documents of a sequence start, for attention that stays inside of them and positions that count from there.
use super::corpus::Corpus;
use super::piece::Excerpt;
use super::shard::{Format, Shard};
use crate::ops::Documents;
use crate::{Error, Result};

/// Who looks at the documents of a sequence, and what bounds them: the index of a shard, or, where it has none, the token
/// that ends a text (in llm.c's format it begins one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundaries {
    isolate: bool,
    reset: bool,
    /// That token, where it is known.
    end: Option<i32>,
}

impl Boundaries {
    /// Nobody looks: a sequence is one document.
    pub const IGNORED: Self = Self { isolate: false, reset: false, end: None };

    /// Whether attention stays inside of documents and whether positions count from their starts. `end` is the token that
    /// ends a text.
    pub fn new(isolate: bool, reset: bool, end: Option<u32>) -> Self {
        Self { isolate, reset, end: end.and_then(|end| i32::try_from(end).ok()) }
    }

    /// Whether anybody looks.
    pub fn are_seen(&self) -> bool {
        self.isolate || self.reset
    }

    /// The token that ends a text, where it is known.
    pub fn end_of_text(&self) -> Option<i32> {
        self.end
    }

    /// Refused where the documents of a corpus are looked at and not known.
    pub fn check(&self, corpus: &Corpus) -> Result<()> {
        let unknown = |shard: &&Shard| self.are_seen() && self.end.is_none() && !shard.has_index();
        let Some(shard) = corpus.shards().iter().find(unknown) else { return Ok(()) };
        let key = if self.isolate { "data.documents is \"isolate\"" } else { "data.positions is \"reset\"" };
        Err(Error::refused(format!(
            "{key}, and the documents of {} are not known: it has no .idx, and no tokenizer with an end-of-text token is \
             known that would tell them apart; name the tokenizer in data.tokenizer, or tokenize the texts with \
             `rewarm data tokenize`",
            shard.path().display()
        )))
    }

    /// For each token of a sequence the row in which its document starts. `excerpts` say what the tokens are of; they may
    /// go on behind the last one.
    pub fn find(&self, corpus: &Corpus, excerpts: &[Excerpt], tokens: &[i32], starts: &mut [i32]) {
        let ends = |row: usize| self.end.is_some_and(|end| tokens[row] == end);
        let (mut row, mut start) = (0, 0);
        let mut before: Option<&Excerpt> = None;
        for excerpt in excerpts {
            let end = starts.len().min(row + excerpt.tokens as usize);
            if excerpt.padding {
                // Behind everything else in its window: whose it is makes no difference.
                starts[row..end].fill(start as i32);
                (row, before) = (end, Some(excerpt));
                continue;
            }
            if !before.is_some_and(|before| before.goes_on_in(excerpt)) {
                start = row;
            }
            let shard = &corpus.shards()[excerpt.place.shard];
            while row < end {
                let begins = match shard.format() {
                    _ if shard.has_index() => false,
                    Format::LlmC => ends(row),
                    _ => row > 0 && ends(row - 1),
                };
                start = if begins { row } else { start };
                starts[row] = start as i32;
                row += 1;
            }
            before = Some(excerpt);
        }
    }

    /// As operations are told.
    pub fn of<'a>(&self, starts: &'a [i32]) -> Documents<'a> {
        if self.are_seen() {
            Documents { starts, isolate: self.isolate, reset: self.reset }
        } else {
            Documents::NONE
        }
    }
}
