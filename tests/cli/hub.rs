//! Models of the hub by their names, from a server that speaks its API: the cache of Python's `huggingface_hub`, tokens,
//! redirects, and every way in which a hub can fail.
use crate::support::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does with a file.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Gives,
    /// Any request is answered with this code.
    Answers(u16),
    /// Once more than that many requests came, it gives; before, it answers 500.
    Late(usize),
    /// Large files end in the middle, as often as this.
    Half(usize),
}

/// A hub with one model, `them/small`, whose large file lies at another address.
struct Hub {
    endpoint: String,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn new(model: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let names = ["config.json", "model.safetensors", "tokenizer.json"];
        let files: BTreeMap<_, _> = names.map(|name| (name, fs::read(model.join(name)).unwrap())).into();
        let (mood, seen) = (Arc::new(Mutex::new(Mood::Gives)), Arc::new(Mutex::new(Vec::new())));
        let (own_mood, own_seen) = (mood.clone(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                answer(stream, &files, &own_mood, &own_seen);
            }
        });
        Self { endpoint, mood, seen }
    }

    /// Runs a command with a cache in `dir`, while the hub has this mood.
    fn run(&self, dir: &Dir, mood: Mood, line: &str, variables: &[(&str, &str)]) -> Said {
        *self.mood.lock().unwrap() = mood;
        self.seen.lock().unwrap().clear();
        let started = std::time::Instant::now();
        let mut command = Command::new(REWARM);
        for name in [
            "HF_TOKEN",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "HF_TOKEN_PATH",
            "http_proxy",
        ] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", dir.join("home")).current_dir(dir.path());
        command.envs(variables.iter().copied()).args(line.split(' '));
        Said::of(command.output().unwrap(), started.elapsed())
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers one request: the list of a revision, a small file, or the address of the large one.
fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<&str, Vec<u8>>,
    mood: &Mutex<Mood>,
    seen: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let request: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let header = |key: &str| {
        let own = request.iter().find(|line| line.to_lowercase().starts_with(key));
        own.map(|line| line[key.len()..].trim().to_owned())
    };
    let path = request[0].split(' ').nth(1).unwrap().to_owned();
    let token = header("authorization:").unwrap_or_default();
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(format!("{path} {token}").trim().to_owned());
        seen.len()
    };
    let mood_now = *mood.lock().unwrap();
    let mut send = |status: &str, headers: &str, body: &[u8], most: usize| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..length.min(most)]));
    };
    match mood_now {
        Mood::Answers(code) => return send(&format!("{code} No"), "", b"{\"error\": \"no\"}", usize::MAX),
        Mood::Late(until) if count <= until => return send("500 Oh", "", b"", usize::MAX),
        _ => {}
    }
    let is_open = token.is_empty() || token == "Bearer secret";
    if path == "/api/models/them/small/revision/step10" && is_open {
        let list = files
            .keys()
            .chain(&["README.md", "pytorch_model.bin"])
            .map(|name| format!("{{\"rfilename\": \"{name}\"}}"));
        let list = list.collect::<Vec<_>>().join(", ");
        return send(
            "200 OK",
            "",
            format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{list}]}}").as_bytes(),
            usize::MAX,
        );
    }
    let place = format!("/them/small/resolve/{COMMIT}/");
    let (elsewhere, name) = match (path.strip_prefix(&place), path.strip_prefix("/elsewhere/")) {
        (Some(name), _) => (false, name),
        (None, Some(name)) => (true, name),
        _ => return send("404 Not Found", "", b"", usize::MAX),
    };
    let Some(bytes) = files.get(name) else { return send("404 Not Found", "", b"", usize::MAX) };
    if name == "model.safetensors" && !elsewhere {
        let headers = format!(
            "Location: /elsewhere/{name}\r\nX-Linked-Etag: \"5ba1e\"\r\nX-Linked-Size: {}\r\nETag: \"other\"\r\n",
            bytes.len()
        );
        return send("302 Found", &headers, b"", usize::MAX);
    }
    let from =
        header("range:").map_or(0, |range| range["bytes=".len()..range.len() - 1].parse::<usize>().unwrap());
    let mut most = usize::MAX;
    if let (Mood::Half(times), true) = (mood_now, elsewhere) {
        *mood.lock().unwrap() = if times > 1 { Mood::Half(times - 1) } else { Mood::Gives };
        most = bytes.len() / 3;
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    send(status, &format!("ETag: \"{name}-tag\"\r\n").replace('.', ""), &bytes[from..], most);
}

const EXPORT: &str = "export them/small@step10 out";

#[test]
fn a_model_of_the_hub_is_downloaded_once_into_the_cache_of_python() {
    let (dir, hub) = (Dir::new(), Hub::new(&fixture().dir.join("hf")));
    // The first file ends in the middle; the next try goes on behind it.
    let said = hub.run(&dir, Mood::Half(1), EXPORT, &[]);
    said.one_error(&["cannot download", "model.safetensors"]);
    assert_eq!(said.code, 2);
    let model = dir.join("home/hub/models--them--small");
    let part = model.join("blobs/5ba1e.incomplete");
    let whole = fs::read(fixture().dir.join("hf/model.safetensors")).unwrap();
    assert_eq!(fs::read(&part).unwrap(), whole[..whole.len() / 3]);
    assert!(!dir.join("out").exists());
    hub.run(&dir, Mood::Gives, EXPORT, &[("HF_TOKEN", "secret")]).ok();
    assert!(hub.seen().iter().all(|request| request.ends_with("Bearer secret")), "{:?}", hub.seen());
    assert!(fs::read(dir.join("out/model.safetensors")).unwrap() == whole);
    let snapshot = model.join("snapshots").join(COMMIT);
    assert_eq!(fs::read_link(snapshot.join("model.safetensors")).unwrap(), Path::new("../../blobs/5ba1e"));
    assert_eq!(fs::read_to_string(model.join("refs/step10")).unwrap(), COMMIT);
    assert_eq!(fs::read_dir(&snapshot).unwrap().count(), 3, "neither the card nor the pickle");
    assert!(!part.exists());
    // From now on only the commit is asked for, and offline nothing.
    hub.run(&dir, Mood::Gives, &EXPORT.replace("out", "again"), &[]).ok();
    assert_eq!(hub.seen(), ["/api/models/them/small/revision/step10"]);
    hub.run(&dir, Mood::Answers(500), &EXPORT.replace("out", "offline"), &[("HF_HUB_OFFLINE", "1")]).ok();
    assert_eq!(hub.seen(), [""; 0]);
    // A hub in trouble: what is in the cache is taken, and said.
    let said = hub.run(&dir, Mood::Answers(500), &EXPORT.replace("out", "trouble"), &[]);
    assert!(said.ok().contains("trouble") && said.err.contains("from the cache"), "{}", said.err);
    hub.run(&dir, Mood::Late(2), &EXPORT.replace("out", "late"), &[]).ok();
    // And as `start.from`.
    copy(&fixture().dir.join("data"), &dir.join("data"));
    let (_, rest) = CONFIG.split_once("[data]").unwrap();
    dir.config(
        "next.toml",
        &format!("run_dir = \"DIR/run\"\nthreads = 2\n[start]\nfrom = \"them/small@step10\"\n[data]\n{rest}"),
    );
    let line = "train next.toml --set train.steps=1 --set schedule.warmup=0";
    hub.run(&dir, Mood::Gives, line, &[("HF_HUB_OFFLINE", "1")]).ok();
    assert!(dir.join("run/step-0000000001/tokenizer.json").exists());
}

#[test]
fn what_a_hub_answers_is_told_and_nothing_is_written() {
    let (dir, hub) = (Dir::new(), Hub::new(&fixture().dir.join("hf")));
    let said = hub.run(&dir, Mood::Answers(401), EXPORT, &[]);
    said.refused(&["them/small@step10", "401", "no token was sent", "HF_TOKEN"]);
    hub.run(&dir, Mood::Gives, EXPORT, &[("HF_TOKEN", "wrong")]).refused(&["404"]);
    hub.run(&dir, Mood::Answers(403), EXPORT, &[("HF_TOKEN", "secret")])
        .refused(&["the token does not open it"]);
    hub.run(&dir, Mood::Answers(404), EXPORT, &[]).refused(&["no such model, or no such revision", "404"]);
    let said = hub.run(&dir, Mood::Answers(500), EXPORT, &[]);
    said.one_error(&["cannot download", "500", "HF_HUB_OFFLINE"]);
    assert_eq!((said.code, hub.seen().len()), (2, 3), "asked three times");
    hub.run(&dir, Mood::Gives, EXPORT, &[("HF_HUB_OFFLINE", "1")])
        .refused(&["HF_HUB_OFFLINE", "not a directory"]);
    let nobody = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    assert_eq!(hub.run(&dir, Mood::Gives, EXPORT, &nobody).code, 2);
    assert!(!dir.join("out").exists() && !dir.join("home").exists());
    // What was meant as a path is one.
    fs::create_dir(dir.join("them")).unwrap();
    hub.run(&dir, Mood::Gives, EXPORT, &[]).refused(&["them/small@step10 is not a directory"]);
    assert_eq!(hub.seen(), [""; 0]);
}
