//! Where in a file a key stands: `data.mixture[1].fraction`.
use toml::{Table, Value};

/// A step on the way to a place.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// A key of a table.
    Key(String),
    /// An entry of a list, counted from 0.
    Entry(usize),
}

/// The way to a value, from the top of a file; it begins with a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place(Vec<Part>);

impl Place {
    /// Of a dotted name; `None` where it is not one.
    pub fn read(name: &str) -> Option<Self> {
        let mut parts = Vec::new();
        for part in name.split('.') {
            let (key, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
            if key.is_empty() || key.contains(']') {
                return None;
            }
            parts.push(Part::Key(key.to_owned()));
            while !rest.is_empty() {
                let (number, behind) = rest.strip_prefix('[')?.split_once(']')?;
                parts.push(Part::Entry(number.parse().ok()?));
                rest = behind;
            }
        }
        Some(Self(parts))
    }

    /// The name as the table of keys has it: `[]` stands for an entry.
    pub fn known(&self) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Key(key) if name.is_empty() => name += key,
                Part::Key(key) => name += &format!(".{key}"),
                Part::Entry(_) => name += "[]",
            }
        }
        name
    }

    /// Puts `value` there in the place of what there is, in tables that are made where they are missing. The error says why an
    /// entry cannot be replaced; then nothing is changed.
    pub fn put(&self, table: &mut Table, value: Value) -> Result<(), String> {
        let mut root = Value::Table(table.clone());
        if let Some(there) = self.find(&mut root, true)? {
            *there = value;
        }
        if let Value::Table(changed) = root {
            *table = changed;
        }
        Ok(())
    }

    /// Takes away what is there, if anything is. The error says why an entry cannot be taken away.
    pub fn remove(&self, table: &mut Table) -> Result<(), String> {
        let Some((last, before)) = self.0.split_last() else { return Ok(()) };
        let mut root = Value::Table(std::mem::take(table));
        let removed = Self(before.to_vec()).find(&mut root, false).and_then(|found| match (found, last) {
            (Some(Value::Table(inner)), Part::Key(key)) => {
                inner.remove(key);
                Ok(())
            }
            (Some(list), Part::Entry(i)) => {
                entry(list, *i)?;
                list.as_array_mut().into_iter().for_each(|list| drop(list.remove(*i)));
                Ok(())
            }
            _ => Ok(()),
        });
        if let Value::Table(changed) = root {
            *table = changed;
        }
        removed
    }

    /// What stands there; with `make`, tables and values that are missing are made. `None`: nothing.
    fn find<'a>(&self, root: &'a mut Value, make: bool) -> Result<Option<&'a mut Value>, String> {
        let mut at = root;
        for part in &self.0 {
            at = match part {
                Part::Entry(i) => entry(at, *i)?,
                Part::Key(key) => {
                    // What is no table is refused by its kind, as in a file.
                    if make && !at.is_table() {
                        *at = Value::Table(Table::new());
                    }
                    let Some(table) = at.as_table_mut() else { return Ok(None) };
                    if make {
                        table.entry(key.as_str()).or_insert_with(|| Value::Table(Table::new()))
                    } else {
                        match table.get_mut(key) {
                            Some(inner) => inner,
                            None => return Ok(None),
                        }
                    }
                }
            };
        }
        Ok(Some(at))
    }
}

/// An entry of a list that has so many.
fn entry(list: &mut Value, i: usize) -> Result<&mut Value, String> {
    let entries = list.as_array().map_or(0, Vec::len);
    let found = list.as_array_mut().and_then(|list| list.get_mut(i));
    found.ok_or_else(|| match entries {
        0 => format!("there is no list to have an entry [{i}]; give it whole, as in key=[{{…}}]"),
        1 => format!("there is no entry [{i}]: the list has one, [0]"),
        _ => format!("there is no entry [{i}]: the list has {entries}, [0] to [{}]", entries - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a = 1\nlist = [{ x = 1, y = 2 }, { x = 3 }]\n[table]\nx = 1\ny = { z = 2 }\n";

    fn after(change: impl Fn(&mut Table) -> Result<(), String>) -> Result<String, String> {
        let mut table: Table = FILE.parse().unwrap();
        let done = change(&mut table);
        let same = table == FILE.parse().unwrap();
        match done {
            Ok(()) if same => Ok(String::new()),
            Ok(()) => Ok(Value::Table(table).to_string()),
            Err(why) => {
                assert!(same, "changed and refused");
                Err(why)
            }
        }
    }

    fn put(name: &str, value: &str) -> Result<String, String> {
        after(|table| Place::read(name).unwrap().put(table, value.parse().unwrap()))
    }

    fn remove(name: &str) -> Result<String, String> {
        after(|table| Place::read(name).unwrap().remove(table))
    }

    #[test]
    fn a_value_is_put_where_its_name_says() {
        for (name, value, expected) in [
            ("table.x", "2", "table = { x = 2, y = { z = 2 } }"),
            ("table", "{ y = 1 }", "table = { y = 1 }"),
            ("new.deep", "7", "new = { deep = 7 }"),
            ("list[1].x", "4", "list = [{ x = 1, y = 2 }, { x = 4 }]"),
            ("list[0]", "{ z = 5 }", "list = [{ z = 5 }, { x = 3 }]"),
        ] {
            let found = put(name, value).unwrap();
            assert!(found.contains(expected), "{name}: {found}");
        }
        assert!(put("list[2].x", "1").unwrap_err().contains("the list has 2, [0] to [1]"));
        assert!(put("none[0]", "1").unwrap_err().contains("no list"));
    }

    #[test]
    fn what_is_there_is_taken_away() {
        assert_eq!(remove("table.x").unwrap(), put("table", "{ y = { z = 2 } }").unwrap());
        assert_eq!(remove("list[0]").unwrap(), put("list", "[{ x = 3 }]").unwrap());
        assert_eq!(remove("list[0].y").unwrap(), put("list[0]", "{ x = 1 }").unwrap());
        for absent in ["b", "b.c", "table.x.z", "list[0].z"] {
            assert_eq!(remove(absent).unwrap(), "", "{absent}");
        }
        assert!(remove("list[7]").unwrap_err().contains("no entry [7]"));
        assert_eq!(Place::read("list[0].y").unwrap().known(), "list[].y");
    }
}
