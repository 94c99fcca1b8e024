//! `order` of a source: how what it holds is arranged.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How an order goes through a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Arrangement {
    /// Windows are shuffled, otherwise in each epoch.
    #[default]
    Shuffled,
    /// As they are stored, epoch after epoch.
    Stored,
    /// Documents whole in windows, where they fit, which are shuffled then.
    Packed,
    /// Documents by a number, those of one number as they are stored; cut into windows then.
    Sorted {
        /// Name of the number: it stands in `PREFIX.KEY.f32`.
        key: String,
        /// The largest first.
        descending: bool,
    },
}

impl Arrangement {
    /// Left out of what is written: configurations and checkpoints from before the key are to be resumed.
    pub fn is_shuffled(&self) -> bool {
        *self == Self::Shuffled
    }

    /// Whether each epoch has another order of windows.
    pub fn shuffles(&self) -> bool {
        matches!(self, Self::Shuffled | Self::Packed)
    }
}

impl FromStr for Arrangement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sorted = |key: &str| {
            let (key, descending) = key.strip_prefix('-').map_or((key, false), |key| (key, true));
            let named = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            named.then(|| Self::Sorted { key: key.to_owned(), descending })
        };
        let read = match text.split_once(':') {
            None if text == "shuffled" => Some(Self::Shuffled),
            None if text == "stored" => Some(Self::Stored),
            None if text == "packed" => Some(Self::Packed),
            Some(("sorted", key)) => sorted(key),
            _ => None,
        };
        read.ok_or_else(|| {
            Error::refused(format!(
                "{text:?} is no order of a source; write \"shuffled\", \"stored\", \"packed\" (documents whole in \
                 windows), \"sorted:KEY\" or \"sorted:-KEY\" (the largest first), with a number per document in \
                 PREFIX.KEY.f32"
            ))
        })
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shuffled => f.write_str("shuffled"),
            Self::Stored => f.write_str("stored"),
            Self::Packed => f.write_str("packed"),
            Self::Sorted { key, descending } => {
                write!(f, "sorted:{}{key}", if *descending { "-" } else { "" })
            }
        }
    }
}

impl TryFrom<String> for Arrangement {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Arrangement> for String {
    fn from(arrangement: Arrangement) -> Self {
        arrangement.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_said_again() {
        for text in ["shuffled", "stored", "packed", "sorted:quality", "sorted:-ppl_2"] {
            assert_eq!(text.parse::<Arrangement>().unwrap().to_string(), text);
        }
        for wrong in ["", "sorted", "sorted:", "sorted:-", "sorted:a/b", "sorted:..", "random", "stored:x"] {
            let error = wrong.parse::<Arrangement>().unwrap_err().to_string();
            assert!(error.contains("PREFIX.KEY.f32"), "{wrong}: {error}");
        }
    }
}
