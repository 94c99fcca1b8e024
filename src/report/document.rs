//! The HTML around a story: style and scripts inside, nothing to load.
use super::page::escape;

/// A small library for charts, under its own licence: <https://github.com/leeoniya/uPlot>, 1.6.32.
const UPLOT: [&str; 3] = [
    include_str!("uplot/LICENSE"),
    include_str!("uplot/uPlot.iife.min.js"),
    include_str!("uplot/uPlot.min.css"),
];
const STYLE: &str = include_str!("app/app.css");
const SCRIPTS: [&str; 4] = [
    include_str!("app/tables.js"),
    include_str!("app/charts.js"),
    include_str!("app/scatter.js"),
    include_str!("app/main.js"),
];
/// What a page has besides that is served and follows its runs.
const LIVE: &str = include_str!("app/live.js");

/// What is particular to one answer of a server.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The word by which the browser knows scripts and styles of this answer.
    pub nonce: &'a str,
    /// The version of the story in it.
    pub tag: &'a str,
}

/// What stands before and after the JSON of a story.
pub fn document(title: &str, served: Option<Served>) -> [String; 2] {
    let nonce = served.map_or(String::new(), |served| format!(" nonce=\"{}\"", served.nonce));
    let tag = served.map_or(String::new(), |served| format!(" data-tag=\"{}\"", escape(served.tag)));
    let live = if served.is_some() { LIVE } else { "" };
    let [licence, uplot, uplot_style] = UPLOT;
    let before = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style{nonce}>\n{uplot_style}{STYLE}</style>\n\
         </head>\n<body>\n<main></main>\n<script type=\"application/json\" id=\"story\"{tag}>",
        escape(title)
    );
    let scripts = SCRIPTS.concat();
    let after = format!(
        "</script>\n<script{nonce}>\n/*\n{licence}*/\n{uplot}\n{scripts}{live}</script>\n</body>\n</html>\n"
    );
    [before, after]
}
