//! Another framework's arguments, read by the names that it gave them.
use crate::schedule::kind::number;
use crate::schedule::range::{ABOVE_0, AT_LEAST_0, BELOW_0, FROM_0, FROM_1, INSIDE_1, Range, SHARE};
use crate::{Error, Result};
use std::cell::RefCell;
use toml::{Table, Value};

/// `[schedule.args]`, or an entry of a list in it. Remembers what it was asked for: anything else is unknown.
pub(super) struct Args {
    /// The style, for messages.
    pub style: String,
    /// Where the keys stand, for messages.
    path: String,
    table: Table,
    asked: RefCell<Vec<&'static str>>,
}

impl Args {
    /// Reads `a-b` as `a_b`, as the frameworks' own command lines do.
    pub fn new(style: &str, path: String, table: &Table) -> Self {
        let table = table.iter().map(|(key, value)| (key.replace('-', "_"), value.clone())).collect();
        Self { style: style.into(), path, table, asked: RefCell::default() }
    }

    fn get(&self, name: &'static str) -> Option<&Value> {
        self.asked.borrow_mut().push(name);
        self.table.get(name)
    }

    /// Where an argument stands, for messages.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Sets an argument that the list around it has given for all of its entries.
    pub fn share(&mut self, name: &str, value: f64) -> Result<()> {
        if self.table.contains_key(name) {
            return Err(self.refused(
                name,
                "is given in an entry of a list; all of them start from that of the list, remove it",
            ));
        }
        self.table.insert(name.into(), value.into());
        Ok(())
    }

    /// Whether an argument is given.
    pub fn has(&self, name: &'static str) -> bool {
        self.get(name).is_some()
    }

    /// An error about an argument; `what` continues its name.
    pub fn refused(&self, name: &str, what: impl std::fmt::Display) -> Error {
        Error::refused(format!("{} {what}", self.key(name)))
    }

    fn wrong(&self, name: &str, value: &Value, expected: &str) -> Error {
        self.refused(name, format!("is {value}; {} expects {expected}", self.style))
    }

    /// The value of a required argument.
    fn required<T>(&self, name: &'static str, value: Option<T>, expected: &str) -> Result<T> {
        value.ok_or_else(|| self.refused(name, format!("is missing; {} requires it: {expected}", self.style)))
    }

    /// A number in `range`, where it is given.
    fn find(&self, name: &'static str, range: Range) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match number(value).filter(|x| range.has(*x)) {
            Some(x) => Ok(Some(x + 0.0)), // -0 is 0
            None => Err(self.wrong(name, value, range.words)),
        }
    }

    /// The same, where it must be given.
    fn need(&self, name: &'static str, range: Range) -> Result<f64> {
        let found = self.find(name, range)?;
        self.required(name, found, range.words)
    }

    /// A learning rate.
    pub fn rate(&self, name: &'static str) -> Result<f64> {
        self.need(name, AT_LEAST_0)
    }

    /// A learning rate that has a default.
    pub fn rate_or(&self, name: &'static str, default: f64) -> Result<f64> {
        Ok(self.rate_or_none(name)?.unwrap_or(default))
    }

    /// A learning rate that can be absent.
    pub fn rate_or_none(&self, name: &'static str) -> Result<Option<f64>> {
        self.find(name, AT_LEAST_0)
    }

    /// A rate that a schedule decays to: at most `top`, whose name is `top_name`.
    pub fn low_rate_or(&self, name: &'static str, default: f64, top: f64, top_name: &str) -> Result<f64> {
        let low = self.rate_or(name, default)?;
        if low > top {
            return Err(self.refused(
                name,
                format!("is {low}, {top_name} is {top}; a decay cannot end above its start"),
            ));
        }
        Ok(low)
    }

    /// A number above 0.
    pub fn positive(&self, name: &'static str) -> Result<f64> {
        self.need(name, ABOVE_0)
    }

    /// A number above 0 that has a default.
    pub fn positive_or(&self, name: &'static str, default: f64) -> Result<f64> {
        Ok(self.find(name, ABOVE_0)?.unwrap_or(default))
    }

    /// A number below 0, without its sign.
    pub fn negative(&self, name: &'static str) -> Result<f64> {
        Ok(-self.need(name, BELOW_0)?)
    }

    /// A share in `0..=1` that has a default.
    pub fn share_or(&self, name: &'static str, default: f64) -> Result<f64> {
        Ok(self.share_or_none(name)?.unwrap_or(default))
    }

    /// A share in `0..=1` that can be absent.
    pub fn share_or_none(&self, name: &'static str) -> Result<Option<f64>> {
        self.find(name, SHARE)
    }

    /// A factor that makes less of what it is multiplied with, and has a default.
    pub fn reduction_or(&self, name: &'static str, default: f64) -> Result<f64> {
        Ok(self.find(name, INSIDE_1)?.unwrap_or(default))
    }

    /// A whole number of steps, samples or the like, as f64 since progress is computed in it.
    pub fn count(&self, name: &'static str) -> Result<f64> {
        let count = self.count_or_none(name)?;
        self.required(name, count, FROM_0.words)
    }

    /// [`Args::count`] with a default.
    pub fn count_or(&self, name: &'static str, default: f64) -> Result<f64> {
        Ok(self.count_or_none(name)?.unwrap_or(default))
    }

    /// [`Args::count`] that can be absent.
    pub fn count_or_none(&self, name: &'static str) -> Result<Option<f64>> {
        self.not_more(name, self.find(name, FROM_0)?)
    }

    /// [`Args::count`] of at least 1.
    pub fn some(&self, name: &'static str) -> Result<f64> {
        let count = self.some_or_none(name)?;
        self.required(name, count, FROM_1.words)
    }

    /// [`Args::some`] that can be absent.
    pub fn some_or_none(&self, name: &'static str) -> Result<Option<f64>> {
        self.not_more(name, self.find(name, FROM_1)?)
    }

    fn not_more(&self, name: &str, count: Option<f64>) -> Result<Option<f64>> {
        match count {
            Some(x) if x > MOST => Err(self.refused(name, format!("is {x}; give at most {MOST}"))),
            count => Ok(count),
        }
    }

    /// A text that is not empty.
    pub fn text(&self, name: &'static str) -> Result<&str> {
        let expected = "a text that is not empty";
        let value = self.required(name, self.get(name), expected)?;
        value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(name, value, expected))
    }

    /// `true` or `false`.
    pub fn flag_or(&self, name: &'static str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Boolean(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    /// One of `choices`; the first is the default.
    pub fn choice(&self, name: &'static str, choices: &[&'static str]) -> Result<&'static str> {
        let Some(value) = self.get(name) else { return Ok(choices[0]) };
        let found = choices.iter().find(|choice| value.as_str() == Some(choice));
        found.copied().ok_or_else(|| self.wrong(name, value, &format!("one of {choices:?}")))
    }

    /// [`Args::choice`] that cannot be left out.
    pub fn required_choice(&self, name: &'static str, choices: &[&'static str]) -> Result<&'static str> {
        self.required(name, self.get(name), &format!("one of {choices:?}"))?;
        self.choice(name, choices)
    }

    /// A list of numbers above 0, which is not empty.
    pub fn numbers(&self, name: &'static str) -> Result<Option<Vec<f64>>> {
        self.numbers_in(name, ABOVE_0)
    }

    /// The same with numbers of at least 0.
    pub fn numbers_from_0(&self, name: &'static str) -> Result<Option<Vec<f64>>> {
        self.numbers_in(name, AT_LEAST_0)
    }

    fn numbers_in(&self, name: &'static str, range: Range) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(number).collect());
        match list.filter(|list| !list.is_empty() && list.iter().all(|x| range.has(*x) && *x <= MOST)) {
            Some(list) => Ok(Some(list)),
            None => {
                let expected = format!("a list that is not empty, each entry {}", range.words);
                Err(self.wrong(name, value, &expected))
            }
        }
    }

    /// A list of steps behind the first, maybe empty.
    pub fn steps(&self, name: &'static str) -> Result<Vec<u64>> {
        let expected = "a list of whole numbers of at least 1";
        let value = self.required(name, self.get(name), expected)?;
        let step = |value: &Value| {
            value.as_integer().and_then(|step| u64::try_from(step).ok()).filter(|step| *step > 0)
        };
        let list: Option<Vec<u64>> = value.as_array().and_then(|list| list.iter().map(step).collect());
        list.ok_or_else(|| self.wrong(name, value, expected))
    }

    /// A table, where the argument is one.
    pub fn table_or_none(&self, name: &'static str) -> Option<Args> {
        let table = self.get(name)?.as_table()?;
        Some(Args::new(&self.style, self.key(name), table))
    }

    /// A list of tables, which is not empty.
    pub fn tables(&self, name: &'static str) -> Result<Vec<Args>> {
        let expected = "a list of tables, which is not empty";
        let value = self.required(name, self.get(name), expected)?;
        let entry = |(i, value): (usize, &Value)| {
            value.as_table().map(|table| Args::new(&self.style, self.key(&format!("{name}[{i}]")), table))
        };
        let list: Option<Vec<Args>> =
            value.as_array().and_then(|list| list.iter().enumerate().map(entry).collect());
        list.filter(|list| !list.is_empty()).ok_or_else(|| self.wrong(name, value, expected))
    }

    /// A table of factors by step: `{ 100 = 0.1, 200 = 0.5 }`, in order.
    pub fn factors(&self, name: &'static str) -> Result<Vec<(u64, f64)>> {
        let expected = "a table of factors by step, as { 100 = 0.1, 200 = 0.5 }";
        let value = self.required(name, self.get(name), expected)?;
        let entry = |(step, factor): (&String, &Value)| {
            Some((step.parse().ok()?, number(factor)?))
                .filter(|(_, factor)| factor.is_finite() && *factor >= 0.0)
        };
        let list: Option<Vec<(u64, f64)>> =
            value.as_table().and_then(|table| table.iter().map(entry).collect());
        let mut list = list.ok_or_else(|| self.wrong(name, value, expected))?;
        list.sort_unstable_by_key(|(step, _)| *step);
        Ok(list)
    }

    /// Refuses what was never asked for.
    pub fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        let Some(unknown) = self.table.keys().find(|key| !asked.contains(&key.as_str())) else {
            return Ok(());
        };
        let nearest = asked
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)));
        let hint = nearest.map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
        Err(self.refused(unknown, format!("is not an argument of {}{hint}", self.style)))
    }
}

/// Far above any run, and exact in f64.
const MOST: f64 = 1e15;
