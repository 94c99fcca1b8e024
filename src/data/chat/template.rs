//! A chat template as transformers runs it: Jinja with the same settings, filters and functions, and its blocks
//! `{% generation %}`, which say what is trained on.
use std::fmt;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::files::ChatFiles;
use crate::error::one_line;
use crate::{Error, Result};

/// What stands around a marked part until the text is whole: characters that Unicode gives to nobody.
const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];
/// Instructions after which a template is said to have no end: about a second.
const FUEL: u64 = 100_000_000;
const NAME: &str = "chat";

/// A text, and bytes from and to of parts of it.
pub(super) type Parts = (String, Vec<(usize, usize)>);

/// A template that is compiled.
pub(super) struct Template {
    environment: Environment<'static>,
    name: String,
    /// What it is given besides messages.
    context: Vec<(String, Value)>,
    marks: bool,
}

impl Template {
    /// Refused where it does not parse. Its marks are kept where they are `wanted`.
    pub(super) fn new(files: ChatFiles, wanted: bool) -> Result<Self> {
        let ChatFiles { name, template, special } = files;
        let (source, has_blocks) = without_blocks(&template);
        let marks = has_blocks && wanted;
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
            ValueKind::None => Ok(out.write_str("None")?),
            _ => escape_formatter(out, state, value),
        });
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_filter("generation", move |text: String| {
            if marks { format!("{}{text}{}", MARKS[0], MARKS[1]) } else { text }
        });
        environment.add_function("raise_exception", |message: String| -> Result<String, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source).map_err(|e| {
            Error::refused(format!(
                "{name}: {}; it must be a template of Jinja, as transformers has it",
                one_line(e)
            ))
        })?;
        let mut context: Vec<(String, Value)> =
            special.into_iter().map(|(name, token)| (name, Value::from(token))).collect();
        // As transformers gives them where there are none.
        context.extend(["tools", "documents"].map(|name| (name.to_owned(), Value::from(()))));
        Ok(Self { environment, name, context, marks })
    }

    /// Where it came from.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it says what is trained on, and that is wanted.
    pub(super) fn marks(&self) -> bool {
        self.marks
    }

    /// The text of these messages, and the parts that the template marks.
    pub(super) fn marked(&self, messages: &[serde_json::Value]) -> Result<Parts, String> {
        if messages.iter().any(has_marks) {
            return Err(
                "the messages have the character U+FDD0 or U+FDD1, which Unicode gives to nobody".into()
            );
        }
        let rendered = self.text(messages, false)?;
        let (mut text, mut parts) = (String::with_capacity(rendered.len()), Vec::new());
        let (mut depth, mut start) = (0u32, 0);
        for piece in rendered.split_inclusive(MARKS) {
            let mark = MARKS.iter().position(|mark| piece.ends_with(*mark));
            text.push_str(piece.strip_suffix(MARKS).unwrap_or(piece));
            match mark {
                Some(0) => {
                    start = if depth == 0 { text.len() } else { start };
                    depth += 1;
                }
                Some(_) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        parts.push((start, text.len()));
                    }
                }
                None => {}
            }
        }
        Ok((text, parts))
    }

    /// The text of these messages, with what makes the model answer where `answers`; marks and all.
    pub(super) fn text(&self, messages: &[serde_json::Value], answers: bool) -> Result<String, String> {
        let given = Value::from_serialize(messages);
        let own = [("messages", given), ("add_generation_prompt", Value::from(answers))];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let context: Value = self.context.iter().cloned().chain(own).collect();
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(context));
        rendered.map_err(|e| format!("the chat template refuses the messages ({})", one_line(e)))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.name)
    }
}

fn has_marks(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains(MARKS),
        serde_json::Value::Array(values) => values.iter().any(has_marks),
        serde_json::Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains(MARKS) || has_marks(value))
        }
        _ => false,
    }
}

/// `{% generation %}` and its end as blocks of a filter, which Jinja has, and whether there is one.
fn without_blocks(template: &str) -> (String, bool) {
    let (mut out, mut rest, mut marks) = (String::with_capacity(template.len()), template, false);
    while let Some((before, tag)) = rest.split_once("{%") {
        let (inside, after) = tag.split_once("%}").unwrap_or((tag, ""));
        let word = inside.trim_matches(['-', '+']).trim();
        let instead = match word {
            "generation" => Some("filter generation"),
            "endgeneration" => Some("endfilter"),
            _ => None,
        };
        out.push_str(before);
        let Some(instead) = instead.filter(|_| tag.contains("%}")) else {
            // What begins inside of a comment or a string is no tag, and the next one may be.
            out.push_str("{%");
            rest = tag;
            continue;
        };
        marks = true;
        out.extend(["{%", &inside.replacen(word, instead, 1), "%}"]);
        rest = after;
    }
    out.push_str(rest);
    (out, marks)
}

/// As transformers has it: `json.dumps` of Python without escapes beyond ASCII, `indent` if asked.
fn to_json(value: Value, options: Kwargs) -> Result<String, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    let mut out = Vec::new();
    let spaces = " ".repeat(indent.unwrap_or(0).min(16));
    let written = match indent {
        Some(_) => {
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
    };
    let failed = |e: String| JinjaError::new(ErrorKind::InvalidOperation, e);
    written.map_err(|e| failed(one_line(e)))?;
    String::from_utf8(out).map_err(|e| failed(one_line(e)))
}

/// Python's spaces behind commas and colons.
struct Spaced;

impl Spaced {
    fn put<W: std::io::Write + ?Sized>(out: &mut W, text: &str) -> std::io::Result<()> {
        out.write_all(text.as_bytes())
    }
}

impl Formatter for Spaced {
    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        Self::put(out, if first { "" } else { ", " })
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        Self::put(out, if first { "" } else { ", " })
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, out: &mut W) -> std::io::Result<()> {
        Self::put(out, ": ")
    }
}
