//! The table of keys for people: lines in a terminal, tables of docs/configuration.md.
use super::table::{KEYS, Key, OnResume};
use crate::{Error, Result};
use std::fmt::Write;

/// The keys whose names hold `word` (none: all), each with its default, what a resume may do with it and its meaning.
/// Refused where there is none.
pub fn listing(word: Option<&str>) -> Result<String> {
    let wanted = |key: &&Key| word.is_none_or(|word| key.name.contains(word));
    let mut out = String::new();
    for key in KEYS.iter().filter(wanted) {
        let resume = resume(key.on_resume);
        let resume = if resume.is_empty() { String::new() } else { format!(", on resume: {resume}") };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{} (default: {}{resume})\n    {}", key.name, key.default, key.meaning);
    }
    if out.is_empty() {
        return Err(Error::refused(format!(
            "no key has {:?} in its name; `rewarm config` alone lists all of them, `rewarm schedule list` the arguments of \
             schedules",
            word.unwrap_or_default()
        )));
    }
    Ok(out)
}

/// The word for what a resume may do with a key.
fn resume(on_resume: OnResume) -> &'static str {
    match on_resume {
        OnResume::Free => "free",
        OnResume::FreeOnCpu => "free on a cpu",
        OnResume::Plan => "plan",
        OnResume::PlanInF32 => "plan, between f32 and mixed",
        OnResume::Fixed => "",
    }
}

/// The keys of the sections as a table in Markdown; the section of keys outside of any is `run`.
#[cfg(test)]
fn markdown(sections: &[&str]) -> String {
    let mut out = String::from("| key | default | on resume | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let top = key.name.split_once('.').map_or("run", |(top, _)| top);
        if !sections.contains(&top) {
            continue;
        }
        let name = match key.name.rsplit_once("[].") {
            Some((list, key)) => format!("`[[{list}]]` `{key}`"),
            None => format!("`{}`", key.name),
        };
        let default =
            if key.default.starts_with('"') { format!("`{}`", key.default) } else { key.default.into() };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {name} | {default} | {} | {} |", resume(key.on_resume), key.meaning);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use toml::Value;

    /// The tables of the page between `<!-- keys: SECTIONS -->` and `<!-- end -->` are those of the table of keys. Where
    /// they are not, the page is written anew, to be looked at and committed.
    #[test]
    fn the_page_has_the_table_of_keys() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (mut made, mut rest, mut shown) = (String::new(), &page[..], Vec::new());
        while let Some((before, behind)) = rest.split_once("<!-- keys: ") {
            let (sections, behind) = behind.split_once(" -->\n").unwrap();
            let (_, behind) = behind.split_once("<!-- end -->").unwrap();
            let names: Vec<&str> = sections.split(' ').collect();
            made += &format!("{before}<!-- keys: {sections} -->\n{}<!-- end -->", markdown(&names));
            shown.extend(names);
            rest = behind;
        }
        made += rest;
        for key in KEYS {
            let top = key.name.split_once('.').map_or("run", |(top, _)| top);
            assert!(shown.contains(&top), "{} is in no table of docs/configuration.md", key.name);
        }
        if made != page {
            std::fs::write(path, made).unwrap();
            panic!(
                "docs/configuration.md had other tables than src/config/table.rs; it was written anew, look at it"
            );
        }
    }

    /// To give a key the default that the table says changes nothing.
    #[test]
    fn defaults_are_those_of_the_types() {
        let text = "run_dir = \"a\"\n[data]\ntrain = [\"b\"]\n[schedule]\nlr = 1\n[train]\nsteps = 900\n";
        let scratch = ["vocab_size=64", "hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2"];
        let scratch: Vec<String> = scratch.iter().map(|size| format!("model.{size}")).collect();
        let mut compared = 0;
        for key in KEYS.iter().filter(|key| key.default.parse::<Value>().is_ok()) {
            let mut sets =
                if key.name.starts_with("start.") { vec!["start.from=c".into()] } else { scratch.clone() };
            match key.name {
                "head.chunk_rows" => continue, // settled at the start of a run, by its device
                "eval.dense.every" => sets.push("eval.dense={until=5}".into()),
                "schedule.pre_hold_lr" => sets.push("schedule.pre_hold=5".into()),
                "schedule.tail" => sets.push("schedule.phases=[{shape=\"constant\", length=5}]".into()),
                "schedule.phases[].part" => sets.push("schedule.phases=[{shape=\"linear\", to=0.5}]".into()),
                "data.mixture[].weight" | "data.mixture[].order" | "data.mixture[].when_empty" => {
                    sets.extend([
                        "data.train=[]".into(),
                        "data.mixture=[{name=\"a\", paths=[\"b\"]}]".into(),
                    ]);
                }
                _ => {}
            }
            let without = Config::from_toml_str(text, &sets).unwrap();
            match key.name.split_once("[].") {
                Some((list, entry)) => {
                    let last = sets.last_mut().unwrap();
                    assert!(last.starts_with(list));
                    *last = last.replace("}]", &format!(", {entry} = {}}}]", key.default));
                }
                None => sets.push(format!("{}={}", key.name, key.default)),
            }
            assert_eq!(Config::from_toml_str(text, &sets).unwrap(), without, "{}", key.name);
            compared += 1;
        }
        assert!(compared > 35, "{compared}");
    }

    #[test]
    fn a_listing_is_of_keys_by_their_names() {
        let keep = listing(Some("checkpoint.k")).unwrap();
        assert!(keep.starts_with("checkpoint.keep (default: 3, on resume: free)\n    newest"), "{keep}");
        assert_eq!(listing(None).unwrap().lines().count(), 2 * KEYS.len());
        assert!(listing(Some("frobnicate")).unwrap_err().to_string().contains("\"frobnicate\""));
    }
}
