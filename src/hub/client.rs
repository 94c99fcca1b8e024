//! Requests to the hub.
use super::name::Name;
use crate::error::one_line;
use crate::{Error, Result};
use serde::Deserialize;
use std::env;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

/// What is tried again, so often, after so many milliseconds more each time: the hub's own troubles.
const TRIES: u64 = 3;
const PAUSE: Duration = Duration::from_millis(200);
const REDIRECTS_MAX: usize = 5;
/// A list of the files of a model.
const LIST_MAX: u64 = 16 << 20;

/// Who asks, and whom.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// A commit of a model.
#[derive(Deserialize)]
pub(super) struct Commit {
    pub(super) sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// A file that is about to come.
pub(super) struct Incoming {
    /// Names its contents.
    pub(super) etag: String,
    /// Where what comes begins in it.
    pub(super) start: u64,
    /// Bytes of all of it, where the hub says so.
    pub(super) bytes: Option<u64>,
    pub(super) body: Box<dyn Read>,
}

impl Commit {
    /// Names of its files.
    pub(super) fn files(&self) -> Vec<String> {
        self.siblings.iter().map(|file| file.rfilename.clone()).collect()
    }
}

impl Client {
    pub(super) fn of_environment() -> Self {
        let endpoint = env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".into());
        // Redirects are followed here: they say what a file is, and its token is not for other hosts.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .user_agent(concat!("rewarm/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .build()
            .new_agent();
        Self { agent, endpoint: endpoint.trim_end_matches('/').into(), token: token() }
    }

    /// The commit that a revision is now, and its files.
    pub(super) fn commit(&self, name: &Name) -> Result<Commit> {
        let revision = name.revision.replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", self.endpoint, name.repository());
        let (response, _) = self.get(&url, 0, name)?;
        let mut text = Vec::new();
        let read = response.into_body().into_reader().take(LIST_MAX).read_to_end(&mut text);
        read.map_err(|e| self.failed(&url, e))?;
        let commit: Commit = serde_json::from_slice(&text).map_err(|e| self.failed(&url, e))?;
        let is_commit = !commit.sha.is_empty() && commit.sha.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_commit { Ok(commit) } else { Err(self.failed(&url, "its answer names no commit")) }
    }

    /// A file of a commit from a byte of it on, or, where the hub does not give parts, from its beginning.
    pub(super) fn file(&self, name: &Name, commit: &str, file: &str, start: u64) -> Result<Incoming> {
        let file = file.replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F");
        let url = format!("{}/{}/resolve/{commit}/{file}", self.endpoint, name.repository());
        let (response, linked) = self.get(&url, start, name)?;
        let header =
            |key: &str| response.headers().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let etag = linked.etag.or_else(|| header("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        if etag.is_empty() || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(self.failed(&url, "its answer does not say which contents the file has (ETag)"));
        }
        let start = if response.status().as_u16() == 206 { start } else { 0 };
        let coming = header("content-length").and_then(|bytes| bytes.parse::<u64>().ok());
        let bytes = linked.bytes.or(coming.map(|bytes| bytes + start));
        Ok(Incoming { etag, start, bytes, body: Box::new(response.into_body().into_reader()) })
    }

    /// Asks for `url`, again where the hub has troubles; what redirects said of the file on the way goes with the answer.
    fn get(&self, url: &str, start: u64, name: &Name) -> Result<(Response<ureq::Body>, Linked)> {
        for left in (0..TRIES).rev() {
            let (response, linked) = self.follow(url, start)?;
            match response.status().as_u16() {
                200 | 206 => return Ok((response, linked)),
                code @ (429 | 500..=599) if left > 0 => {
                    log::info!("the hub answers {code}; asking again");
                    std::thread::sleep(PAUSE * (TRIES - left) as u32);
                }
                code => return Err(self.answered(code, url, name)),
            }
        }
        Err(self.failed(url, "it does not answer"))
    }

    fn follow(&self, url: &str, start: u64) -> Result<(Response<ureq::Body>, Linked)> {
        let (mut url, mut linked) = (url.to_owned(), Linked::default());
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint)) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if start > 0 {
                request = request.header("Range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|e| self.failed(&url, e))?;
            let header = |key: &str| response.headers().get(key).and_then(|value| value.to_str().ok());
            linked.etag = linked.etag.or_else(|| header("x-linked-etag").map(str::to_owned));
            linked.bytes = linked.bytes.or_else(|| header("x-linked-size")?.parse().ok());
            let Some(target) = header("location").filter(|_| response.status().is_redirection()) else {
                return Ok((response, linked));
            };
            url = match target.strip_prefix('/') {
                Some(path) => format!("{}/{path}", origin(&url)),
                None => target.to_owned(),
            };
        }
        Err(self.failed(&url, "it leads from one address to another without an end"))
    }

    /// What an answer that is no file means.
    fn answered(&self, code: u16, url: &str, name: &Name) -> Error {
        let host = &self.endpoint;
        match code {
            401 | 403 => {
                let with =
                    if self.token.is_some() { "the token does not open it" } else { "no token was sent" };
                Error::refused(format!(
                    "{name} is not a directory here, and {host} does not give it ({code}): there is no such model, or it is \
                     private or gated, and {with}; check the name, or set HF_TOKEN to a token of one who may read it"
                ))
            }
            404 => Error::refused(format!(
                "{name} is not a directory here, and {host} has no such model, or no such revision of it (404); check both"
            )),
            416 => Error::failed(format!(
                "{host} has less of {url} than was downloaded before; delete the model from the cache"
            )),
            _ => self.failed(url, format!("it answers {code}")),
        }
    }

    /// A trouble of the network or of the hub.
    pub(super) fn failed(&self, url: &str, what: impl std::fmt::Display) -> Error {
        let (url, what) = (one_line(url), one_line(what));
        Error::failed(format!(
            "cannot download from {}: {what} ({url}); try again later, with HF_HUB_OFFLINE=1 from the cache alone",
            self.endpoint
        ))
    }
}

/// What the hub says of a file that lies elsewhere, when it says where.
#[derive(Default)]
struct Linked {
    etag: Option<String>,
    bytes: Option<u64>,
}

/// `https://host:port` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

/// The user's token, where Python finds it.
fn token() -> Option<String> {
    let home = env::var_os("HF_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/huggingface")));
    let file = env::var_os("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
    let given = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(|name| env::var(name).ok());
    let token = given.or_else(|| std::fs::read_to_string(file?).ok())?;
    Some(token.trim().to_owned())
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
}
