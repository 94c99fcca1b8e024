//! `rewarm report --serve`: a page that follows its runs, and what it does with clients that want something else.
use crate::support::*;
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A served page. The process ends with it.
struct Served {
    child: Child,
    /// HOST:PORT, as it was printed.
    address: String,
}

/// A response.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    /// `rewarm report` with these words.
    fn new(dir: &Dir, words: &str) -> Self {
        let mut command = Command::new(REWARM);
        command.current_dir(dir.path()).arg("report").args(words.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
        let Some(address) = address.map(str::to_owned) else {
            panic!("{line:?} {}", Said::of(child.wait_with_output().unwrap(), Duration::ZERO).err);
        };
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What is answered to these bytes.
    fn ask(&self, sent: &str) -> Reply {
        let mut stream = self.connect();
        stream.write_all(sent.as_bytes()).unwrap();
        reply(stream)
    }

    fn get(&self, target: &str, headers: &str) -> Reply {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address))
    }

    fn story(&self) -> Value {
        let reply = self.get("/story.json", "");
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
        serde_json::from_str(&reply.body).unwrap()
    }

    /// The story, when this holds of it.
    #[track_caller]
    fn until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let story = self.story();
            if holds(&story) {
                return story;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{story:#}");
            sleep(Duration::from_millis(100));
        }
    }

    /// Stops it by a signal: its exit code, and what it said on stderr.
    fn stop(mut self, signal: &str) -> Said {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Said { code, out: String::new(), err, took: Duration::ZERO }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        values.next().unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

fn reply(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?} is no response"));
    let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    Reply { status, head: head.into(), body: body.into() }
}

fn step(step: u64) -> String {
    json!({"step": step, "tokens": step * 64, "loss": 5.0 / step as f64, "lr": 0.1, "tokens_per_s": 1.0})
        .to_string()
        + "\n"
}

/// A run directory as training leaves it, with a log of so many steps.
fn run(dir: &Dir, name: &str, steps: u64) {
    dir.write(&format!("{name}/config.toml"), format!("run_dir = {name:?}\nseed = {steps}\n"));
    dir.write(&format!("{name}/metrics.jsonl"), (1..=steps).map(step).collect::<String>());
}

fn append(dir: &Dir, name: &str, text: &str) {
    let file = OpenOptions::new().append(true).open(dir.join(&format!("{name}/metrics.jsonl")));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Steps of the run of this number.
fn steps_of(story: &Value, run: usize) -> usize {
    story["runs"][run]["loss"]["step"].as_array().map_or(0, Vec::len)
}

fn notes(story: &Value) -> String {
    story["notes"].to_string()
}

#[test]
fn a_page_follows_its_runs() {
    let dir = Dir::new();
    let name = "<b>&\"</script>";
    run(&dir, "a", 3);
    run(&dir, name, 2);
    let served = Served::new(&dir, &format!("a {name} --serve 127.0.0.1:0"));
    let page = served.get("/", "");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!((page.body.matches("<script").count(), page.body.matches("</script>").count()), (2, 2));
    assert!(!page.body.contains("<b>"), "names are not part of the document");
    // Its own script alone may run.
    let nonce = page.body.split("<script nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'; ") && policy.contains(&format!("script-src 'nonce-{nonce}'"))
    );
    assert_ne!(policy, served.get("/", "").header("content-security-policy"), "a nonce for each answer");

    let first = served.get("/story.json", "");
    let tag = first.header("etag");
    assert!(page.body.contains(&tag.replace('"', "&quot;")), "the page knows its version");
    let has = format!("If-None-Match: {tag}\r\n");
    let same = served.get("/story.json", &has);
    assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", tag));
    assert_eq!(served.story()["runs"][1]["name"], name);

    // A torn line waits for its end.
    let line = step(4);
    append(&dir, "a", &line[..20]);
    sleep(Duration::from_millis(700));
    assert_eq!(served.get("/story.json", &has).status, 304);
    append(&dir, "a", &line[20..]);
    let story = served.until(|story| steps_of(story, 0) == 4);
    assert_eq!((story["runs"][0]["loss"]["loss"][3].as_f64(), steps_of(&story, 1)), (Some(1.25), 2));
    assert_eq!(served.get("/story.json", &has).status, 200);

    // A resume wrote it anew, without the later steps.
    dir.write("a/draft", step(1) + &step(2));
    fs::rename(dir.join("a/draft"), dir.join("a/metrics.jsonl")).unwrap();
    served.until(|story| steps_of(story, 0) == 2);
    append(&dir, "a", &step(3));
    let story = served.until(|story| steps_of(story, 0) == 3);
    assert!(story.get("notes").is_none(), "{story:#}");

    // A wrong line and a directory that is gone are named; the others go on.
    append(&dir, "a", "{\"step\":\n");
    append(&dir, "a", &step(4));
    let story = served.until(|story| notes(story).contains("line 4 is not JSON"));
    assert_eq!(steps_of(&story, 0), 3);
    fs::remove_dir_all(dir.join("a")).unwrap();
    append(&dir, name, &step(3));
    let story = served.until(|story| notes(story).contains("a: cannot read a/metrics.jsonl"));
    assert_eq!((steps_of(&story, 0), steps_of(&story, 1)), (3, 3));
    run(&dir, "a", 7);
    served.until(|story| steps_of(story, 0) == 7 && story.get("notes").is_none());
}

#[test]
fn runs_that_begin_and_cells_that_appear_are_shown() {
    let dir = Dir::new();
    fs::create_dir_all(dir.join("study/ancestors")).unwrap();
    dir.write("early/config.toml", "seed = 1\n");
    let served = Served::new(&dir, "early study --serve 127.0.0.1:0");
    let story = served.story();
    assert_eq!((&story["runs"], notes(&story).contains("early: no log yet")), (&json!([]), true));
    run(&dir, "early", 1);
    run(&dir, "study/cells/lr=2", 2);
    served.until(|story| steps_of(story, 1) == 2 && story["runs"][0]["name"] == "early");
    // One that comes later stands behind the others, whatever its name.
    run(&dir, "study/cells/lr=1", 3);
    let story = served.until(|story| steps_of(story, 2) == 3);
    assert_eq!((&story["runs"][1]["name"], &story["runs"][2]["name"]), (&json!("lr=2"), &json!("lr=1")));
    assert_eq!(story["differences"]["rows"][2], json!(["lr=1", "3"]));
    fs::remove_file(dir.join("study/cells/lr=1/config.toml")).unwrap();
    append(&dir, "study/cells/lr=1", &step(4));
    served.until(|story| notes(story).contains("lr=1: cannot read study/cells/lr=1/config.toml"));
}

#[test]
fn nothing_but_the_page_is_served() {
    let dir = Dir::new();
    run(&dir, "a", 1);
    dir.write("secret", "secret");
    let served = Served::new(&dir, "a --serve 127.0.0.1:0");
    assert!(served.address.starts_with("127.0.0.1:"), "{}", served.address);
    let absolute = format!("http://{}/", served.address);
    for target in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fsecret",
        "/secret",
        "//secret",
        "/a/config.toml",
        "/a/metrics.jsonl",
        "/story.json/",
        "/story.json?x",
        "/./",
        "/STORY.JSON",
        "/favicon.ico",
        "secret",
        "*",
        "file:///etc/passwd",
        &absolute,
        "http://evil.example/",
    ] {
        let reply = served.get(target, "");
        assert_eq!((reply.status, reply.body.as_str()), (404, "there is / and /story.json\n"), "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let reply =
            served.ask(&format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"));
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"), "{method}");
    }
    let (head, whole) =
        (served.ask("HEAD /story.json HTTP/1.1\r\nHost: localhost\r\n\r\n"), served.get("/story.json", ""));
    assert_eq!((head.status, head.head.as_str(), head.body.as_str()), (200, whole.head.as_str(), ""));
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());

    // Names that may lead here from pages of others.
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", ""] {
        for target in ["/", "/story.json", "/none"] {
            assert_eq!(
                served.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status,
                403,
                "{host}"
            );
        }
    }
    for host in ["localhost", "LocalHost:1", "127.0.0.1", "[::1]:8137"] {
        assert_eq!(served.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200, "{host}");
    }
    for sent in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n",
        "\x16\x03\x01\n\n",
        "GET /\r\n\r\n",
    ] {
        assert_eq!(served.ask(sent).status, 400, "{sent:?}");
    }
    let long = "x".repeat(20_000);
    for sent in [
        format!("GET /{long}"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {long}"),
        "GET / HTTP/1.1\r\n".into(),
    ] {
        let sent = sent + &"B: c\r\n".repeat(100) + "\r\n";
        assert_eq!(served.ask(&sent).status, 431, "{}", &sent[..20]);
    }
    assert_eq!(served.get("/", "").status, 200);
}

/// Silent, dripping and deaf clients, more of them than there are places.
#[test]
fn hostile_clients_do_not_stop_others() {
    let dir = Dir::new();
    run(&dir, "a", 100_000);
    let served = Served::new(&dir, "a --serve 127.0.0.1:0");
    let mut kept = Vec::new();
    for i in 0..400 {
        let mut stream = served.connect();
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n", served.address);
        // Deaf ones ask for everything and read nothing of it.
        let sent = [String::new(), head.clone(), head + "\r\n"][i % 3].clone();
        let _ = stream.write_all(sent.as_bytes());
        kept.push(stream);
    }
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(served.get("/", "").status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // A hundred at once are all answered.
    drop(kept);
    let replies: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100).map(|_| scope.spawn(|| served.get("/story.json", "").status)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(replies, [200; 100]);

    // A request that drips has its time in all, not from byte to byte.
    let mut drip = served.connect();
    let started = Instant::now();
    drip.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    while started.elapsed() < Duration::from_secs(15) && drip.write_all(b"x").is_ok() && !answered(&drip) {
        sleep(Duration::from_millis(200));
    }
    let took = started.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!(reply(drip).status, 408);
    assert_eq!(served.get("/", "").status, 200);
}

/// Whether something came on a connection.
fn answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let found = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(found, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

#[test]
fn addresses_are_taken_refused_and_given_back() {
    let dir = Dir::new();
    run(&dir, "a", 1);
    dir.write("data/some.bin", "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for address in [port.to_string(), format!("127.0.0.1:{port}")] {
        line(&dir, &format!("report a --serve {address}")).refused(&["is taken", "--serve 127.0.0.1:0"]);
    }
    drop(taken);
    line(&dir, "report --serve a").refused(&["--serve"]);
    line(&dir, "report --serve a a").refused(&["expected HOST:PORT or a port", "runs stand before --serve"]);
    for address in ["localhost", ":80", "127.0.0.1:65536", "127.0.0.1:x"] {
        line(&dir, &format!("report a --serve {address}")).refused(&["expected HOST:PORT or a port"]);
    }
    line(&dir, "report a --serve 192.0.2.1:0").refused(&["cannot listen on 192.0.2.1:0"]);
    line(&dir, "report a --serve 0 --csv").refused(&["--csv"]);
    line(&dir, "report a --serve 0 -o x.html").refused(&["--output"]);
    line(&dir, "report a a --serve 0").refused(&["a is named twice"]);
    line(&dir, "report a data --serve 0").refused(&["data is no run", "metrics.jsonl"]);
    line(&dir, "report none --serve 0").refused(&["none is no run"]);
    assert!(!dir.join("report.html").exists());

    // Two side by side, one of them by its port alone; the port is free again at once.
    let (one, two) = (Served::new(&dir, &format!("a --serve {port}")), Served::new(&dir, "a --serve 0"));
    assert!(one.address == format!("127.0.0.1:{port}") && two.address != one.address);
    assert_eq!((one.get("/", "").status, two.get("/", "").status), (200, 200));
    let said = one.stop("-TERM");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("stopped by SIGTERM; the page is no longer served"), "{}", said.err);
    let again = Served::new(&dir, &format!("a --serve {port}"));
    assert_eq!(again.get("/", "").status, 200);
    let said = two.stop("-INT");
    assert!(said.code == 3 && said.err.contains("stopped by SIGINT"), "{}", said.err);

    // Others are let in where that is asked for, and it is said.
    let wide = Served::new(&dir, "a --serve 0.0.0.0:0");
    let port = wide.address.strip_prefix("0.0.0.0:").unwrap().to_owned();
    assert_eq!(wide.ask(&format!("GET / HTTP/1.1\r\nHost: node7:{port}\r\n\r\n")).status, 200);
    let said = wide.stop("-TERM");
    assert!(said.err.contains("warning: whoever reaches 0.0.0.0:"), "{}", said.err);
}
