//! What is answered: the page, its story, or a line that says why neither.
use std::sync::{Arc, Mutex, PoisonError};

use super::live::{Live, Telling};
use super::request::Request;
use crate::report::document::{Served, document};
use crate::{Error, Result};

/// The resources that there are.
#[derive(Debug)]
pub struct Site {
    live: Mutex<Live>,
    /// Whether it is for this machine alone.
    local: bool,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    status: &'static str,
    /// Lines of the head, each with its end.
    headers: String,
    body: [Part; 3],
    /// Whether the body is only measured (`HEAD`).
    without_body: bool,
}

/// Text that is this answer's own, or a story that many answers have.
#[derive(Debug)]
enum Part {
    Own(String),
    Story(Arc<Telling>),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(text) => text.as_bytes(),
            Self::Story(telling) => telling.json.as_bytes(),
        }
    }
}

impl Site {
    /// Of what is followed.
    pub fn new(live: Live, local: bool) -> Self {
        Self { live: Mutex::new(live), local }
    }

    /// Answers a request. A target is compared with the two that there are, and used for nothing else.
    pub fn answer(&self, request: &Request) -> Answer {
        let answer = match (request.target.as_str(), request.method.as_str()) {
            _ if self.local && !request.is_to_loopback() => Answer::said(
                "403 Forbidden",
                "this page is for the machine that it is on, as localhost or 127.0.0.1",
            ),
            ("/" | "/story.json", "GET" | "HEAD") => self
                .found(request)
                .unwrap_or_else(|e| Answer::said("500 Internal Server Error", &e.to_string())),
            ("/" | "/story.json", _) => {
                Answer::said("405 Method Not Allowed", "only GET and HEAD are answered")
                    .with("Allow: GET, HEAD\r\n")
            }
            _ => Answer::said("404 Not Found", "there is / and /story.json"),
        };
        Answer { without_body: request.method == "HEAD", ..answer }
    }

    fn found(&self, request: &Request) -> Result<Answer> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = live.now()?;
        if request.target == "/" {
            return page(live.title(), telling);
        }
        drop(live);
        let tag = format!("ETag: {}\r\n", telling.tag);
        if request.has(&telling.tag) {
            return Ok(Answer::of("304 Not Modified", Part::Own(String::new())).with(&tag));
        }
        let headers = format!("Content-Type: application/json\r\n{tag}");
        Ok(Answer::of("200 OK", Part::Story(telling)).with(&headers))
    }
}

/// The page with the story in it. Only its own script runs there, and asks only here.
fn page(title: &str, telling: Arc<Telling>) -> Result<Answer> {
    let random = || getrandom::u64().map_err(|e| Error::failed(format!("no random numbers: {e}")));
    let nonce = format!("{:016x}{:016x}", random()?, random()?);
    let [before, after] = document(title, Some(Served { nonce: &nonce, tag: &telling.tag }));
    let headers = format!(
        "Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; \
         style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    );
    let body = [Part::Own(before), Part::Story(telling), Part::Own(after)];
    Ok(Answer { body, ..Answer::of("200 OK", Part::Own(String::new())) }.with(&headers))
}

impl Answer {
    fn of(status: &'static str, body: Part) -> Self {
        let empty = || Part::Own(String::new());
        Self { status, headers: String::new(), body: [body, empty(), empty()], without_body: false }
    }

    /// A line that says what is wrong.
    pub fn said(status: &'static str, line: &str) -> Self {
        let plain = "Content-Type: text/plain; charset=utf-8\r\n";
        Self::of(status, Part::Own(format!("{line}\n"))).with(plain)
    }

    fn with(mut self, headers: &str) -> Self {
        self.headers += headers;
        self
    }

    /// Status and headers, to the empty line.
    pub fn head(&self) -> String {
        let length: usize = self.body.iter().map(|part| part.bytes().len()).sum();
        // Of what the asker has, the length would be that of what is not sent.
        let length = if self.status.starts_with("304") {
            String::new()
        } else {
            format!("Content-Length: {length}\r\n")
        };
        // Neither kept, nor guessed at, nor shown by pages from elsewhere.
        format!(
            "HTTP/1.1 {}\r\n{}{length}Cache-Control: no-cache, no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n\r\n",
            self.status, self.headers
        )
    }

    /// The body in pieces, empty where only the head was asked for.
    pub fn body(&self) -> impl Iterator<Item = &[u8]> {
        let shown = if self.without_body { &[] } else { &self.body[..] };
        shown.iter().map(Part::bytes)
    }
}
