//! One HTML file that needs nothing else: style, drawings and text are inside.

/// Light and dark by the reader's own setting, light on paper. Drawings come with fixed colours, since they are files of
/// their own too; here their paper, ink and grid follow the page. What is wider than the page scrolls in its frame, whose
/// edge is shaded on the side where more is hidden (backgrounds `local` and `scroll`, after Lea Verou).
const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f8fafc;--card:#fff;--ink:#1f2937;--soft:#374151;--pale:#6b7280;--edge:#e5e7eb;--edge2:#d1d5db;--mark:#0072b2;--shade:rgba(31,41,55,.22)}
@media screen and (prefers-color-scheme:dark){:root{--back:#0f172a;--card:#182235;--ink:#e5e7eb;--soft:#cbd5e1;--pale:#9ca3af;--edge:#334155;--edge2:#475569;--mark:#56b4e9;--shade:rgba(0,0,0,.6)}
.card svg [stroke='#0072B2'],.card svg [stroke='#0072b2']{stroke:#3b82f6}
.card svg [fill='#0072B2'],.card svg [fill='#0072b2']{fill:#3b82f6}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.6 system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem}
h1,h2,p{overflow-wrap:anywhere}
p{margin:.6rem 0;max-width:46rem}
.lead{font-size:1.1rem;color:var(--soft)}
.card,pre{border:1px solid var(--edge);border-radius:.6rem;padding:1rem;overflow-x:auto;background:linear-gradient(90deg,var(--card) 30%,transparent) left/2.5rem 100% no-repeat local,linear-gradient(270deg,var(--card) 30%,transparent) right/2.5rem 100% no-repeat local,linear-gradient(90deg,var(--shade),transparent) left/.8rem 100% no-repeat scroll,linear-gradient(270deg,var(--shade),transparent) right/.8rem 100% no-repeat scroll,var(--card)}
.card{margin:1rem 0}
.card svg{display:block;width:100%;height:auto;min-width:34rem}
.card svg [fill='#FFFFFF'],.card svg [fill='#fff']{fill:none}
.card svg [fill='#1F2937'],.card svg [fill='#1f2937']{fill:var(--ink)}
.card svg [stroke='#1f2937']{stroke:var(--ink)}
.card svg [fill='#6B7280']{fill:var(--pale)}
.card svg [stroke='#6B7280'],.card svg [stroke='#6b7280']{stroke:var(--pale)}
.card svg [stroke='#E5E7EB'],.card svg [stroke='#e5e7eb']{stroke:var(--edge)}
.card svg [fill='#e5e7eb']{fill:var(--edge)}
.card svg [fill='#d1d5db']{fill:var(--edge2)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.95rem}
th,td{padding:.45rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--edge)}
th{font-weight:600;color:var(--pale);font-size:.85rem;line-height:1.3;white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
tr:last-child td{border-bottom:0}
.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.facts td:first-child{color:var(--pale);white-space:nowrap;width:9rem;vertical-align:top}
pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:.75rem 0}
footer{margin-top:3rem;color:var(--pale);font-size:.875rem}
@media (max-width:30rem){main{padding:1.5rem .75rem 3rem}th:first-child,td:first-child{white-space:normal}.card,pre{padding:.75rem}.facts td{display:block;border:0;padding:.1rem 0}.facts td:first-child{width:auto;padding-top:.6rem;padding-left:0}.facts td{padding-left:0}}
@media print{body{background:none;font-size:11pt}main{max-width:none;padding:0}.card,pre{overflow:visible;background:none}.card svg,tr{break-inside:avoid}td:first-child{position:static}.card svg{min-width:0}th,td{padding:.2rem .3rem;font-size:.75rem}pre{white-space:pre-wrap;overflow-wrap:anywhere}h2{break-after:avoid}}
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

    /// Begins a section with a heading.
    pub fn section(&mut self, heading: &str) {
        self.body += &format!("<h2>{}</h2>\n", escape(heading));
    }

    /// Adds a paragraph; `text` is escaped.
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

    /// Adds a list of names and their values.
    pub fn facts(&mut self, facts: &[(&str, String)]) {
        self.body += "<div class=\"card\"><table class=\"facts\">\n";
        for (name, value) in facts {
            self.body += &format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value));
        }
        self.body += "</table></div>\n";
    }

    /// The whole document as HTML, with nothing to load.
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

/// The text with `&`, `<`, `>` and quotes as HTML wants them.
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
        page.svg("<svg></svg>", "a \"drawing\"");
        let html = page.to_html();
        // As wide as the window, in the reader's colours, and what is wider scrolls in a frame of its own.
        for part in
            ["name=\"viewport\"", "color-scheme:light dark", "prefers-color-scheme:dark", "@media print"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(html.contains(".card,pre{") && html.contains("overflow-x:auto"));
        assert_eq!(html.matches("<div class=\"card\"><table").count(), html.matches("<table").count());
        assert_eq!(html.matches("role=\"img\" aria-label=").count(), html.matches("<svg").count());
        for part in ["<title>a &lt; b</title>", "1 &amp; 2", "&lt;td&gt;", "&quot;demo&quot;"] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("http") && !html.contains("<script") && !html.contains("<link"));
    }
}
