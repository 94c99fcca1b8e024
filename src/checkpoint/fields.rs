//! Typed access to a JSON object that somebody else wrote.
use crate::model::TokenIds;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// An object, the file it is from, and the key it is under there (empty at the top).
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    /// The entries of the JSON object.
    pub object: &'a Map<String, Value>,
    /// Names the file in messages.
    pub origin: &'a str,
    /// The key that holds the object.
    pub prefix: &'static str,
}

impl<'a> Fields<'a> {
    /// An entry; `null` counts as absent. For the few that transformers lets be null.
    pub fn optional(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|v| !v.is_null())
    }

    /// The refusal of an entry: what it is and what it should be.
    pub fn unexpected(&self, key: &str, expected: &str) -> Error {
        let dot = if self.prefix.is_empty() { "" } else { "." };
        let found = self.object.get(key).map_or("missing".into(), Value::to_string);
        // A hostile value must not fill the screen.
        let found: String = found.chars().take(80).collect();
        Error::refused(format!(
            "{}: {}{dot}{key} is {found}, where {expected} is expected; correct the file",
            self.origin, self.prefix
        ))
    }

    /// An entry of one type. One that is null is refused, as transformers does: it is not the default.
    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        self.object.get(key).map(|v| read(v).ok_or_else(|| self.unexpected(key, expected))).transpose()
    }

    /// The string at `key`, where there is one; an error where there is something else.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// The number at `key`, where there is one; an error where there is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// The boolean at `key`, where there is one; an error where there is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A positive integer, which must be there.
    pub fn size(&self, key: &str) -> Result<usize> {
        let size = self.typed(key, "a positive integer", |v| usize::try_from(v.as_u64()?).ok())?;
        size.ok_or_else(|| self.unexpected(key, "a positive integer"))
    }

    /// An object that has entries.
    pub fn inner(&self, key: &'static str) -> Result<Option<Self>> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.unexpected(key, "an object"))?;
        Ok((!object.is_empty()).then_some(Self { object, origin: self.origin, prefix: key }))
    }

    /// A token id. Negative ones are in use for none; no token has them.
    pub fn token(&self, key: &str) -> Result<Option<u32>> {
        let bad = || self.unexpected(key, "a token id");
        let Some(value) = self.optional(key) else { return Ok(None) };
        let id = value.as_i64().ok_or_else(bad)?;
        if id < 0 { Ok(None) } else { u32::try_from(id).map(Some).map_err(|_| bad()) }
    }

    /// A token id or a list of them.
    pub fn tokens(&self, key: &str) -> Result<TokenIds> {
        let Some(list) = self.optional(key).and_then(Value::as_array) else {
            return Ok(self.token(key)?.map_or(TokenIds::None, TokenIds::One));
        };
        let id = |v: &Value| v.as_i64().filter(|id| *id <= u32::MAX.into());
        let ids: Option<Vec<i64>> = list.iter().map(id).collect();
        let ids = ids.ok_or_else(|| self.unexpected(key, "a list of token ids"))?;
        Ok(TokenIds::Many(ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect()))
    }
}
