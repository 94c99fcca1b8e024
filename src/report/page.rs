//! One HTML file that needs nothing else: style, drawings and text are inside.

const STYLE: &str = "\
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#f8fafc;color:#1f2937;font:16px/1.6 system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem}
p{margin:.6rem 0;max-width:46rem}
.lead{font-size:1.1rem;color:#374151}
.card{background:#fff;border:1px solid #e5e7eb;border-radius:.6rem;padding:1rem;margin:1rem 0;overflow-x:auto}
.card svg{display:block;width:100%;height:auto;min-width:34rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.95rem}
th,td{padding:.45rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid #eef0f3}
th{font-weight:600;color:#6b7280;font-size:.85rem}
th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}
.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.facts td:first-child{color:#6b7280;white-space:nowrap;width:9rem;vertical-align:top}
pre{background:#fff;border:1px solid #e5e7eb;border-radius:.6rem;padding:1rem;overflow-x:auto;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:.75rem 0}
pre.text{white-space:pre-wrap;overflow-wrap:anywhere}
pre b{color:#0072b2}
summary{cursor:pointer;font-weight:600;margin:.75rem 0}
footer{margin-top:3rem;color:#6b7280;font-size:.875rem}
";

/// A page that grows from top to bottom. Text is escaped here, drawings are taken as they are.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page with its heading.
    pub fn new(title: &str) -> Self {
        Self { title: title.into(), body: format!("<h1>{}</h1>\n", escape(title)) }
    }

    /// The paragraph under the title.
    pub fn lead(&mut self, text: &str) {
        self.body += &format!("<p class=\"lead\">{}</p>\n", escape(text));
    }

    /// Begins a section.
    pub fn section(&mut self, heading: &str) {
        self.body += &format!("<h2>{}</h2>\n", escape(heading));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.body += &format!("<p>{}</p>\n", escape(text));
    }

    /// A drawing, with what it shows for those who cannot see it.
    pub fn svg(&mut self, svg: &str, label: &str) {
        let label = escape(label);
        self.body += &format!("<div class=\"card\" role=\"img\" aria-label=\"{label}\">{svg}</div>\n");
    }

    /// A table with a row of heads.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells: String = cells.map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        self.body += "<div class=\"card\"><table>\n";
        self.body += &cells("th", &mut heads.iter().copied());
        for row in rows {
            self.body += &cells("td", &mut row.iter().map(String::as_str));
        }
        self.body += "</table></div>\n";
    }

    /// Names and values.
    pub fn facts(&mut self, facts: &[(&str, String)]) {
        self.body += "<div class=\"card\"><table class=\"facts\">\n";
        for (name, value) in facts {
            self.body += &format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value));
        }
        self.body += "</table></div>\n";
    }

    /// Text whose lines may be broken, its beginning marked.
    pub fn text(&mut self, marked: &str, rest: &str) {
        self.body += &format!("<pre class=\"text\"><b>{}</b>{}</pre>\n", escape(marked), escape(rest));
    }

    /// A listing that is folded away.
    pub fn listing(&mut self, name: &str, text: &str) {
        self.body +=
            &format!("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(name), escape(text));
    }

    /// The document.
    pub fn to_html(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n{}<footer>Made by rewarm {}.</footer>\n</main>\n</body>\n</html>\n",
            escape(&self.title),
            self.body,
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_nothing_is_fetched() {
        let mut page = Page::new("a < b");
        page.lead("1 & 2");
        page.table(&["x"], &[vec!["<td>".into()]]);
        page.facts(&[("command", "rewarm \"demo\"".into())]);
        page.text("fn", " f<T>()");
        page.listing("a.toml", "a = 1");
        let html = page.to_html();
        for part in [
            "<title>a &lt; b</title>",
            "1 &amp; 2",
            "&lt;td&gt;",
            "&quot;demo&quot;",
            "<b>fn</b> f&lt;T&gt;()",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("http") && !html.contains("<script") && !html.contains("<link"));
    }
}
