//! What is asked for: the head of a request, by hyper's parser. A body is never read.
use httparse::{Error, Status};
use std::net::IpAddr;

/// Bytes of a head at most.
pub const HEAD_MAX: usize = 16 << 10;
/// Lines of a head at most.
const HEADERS_MAX: usize = 64;

/// What matters of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// As it was written: never decoded, and never the name of a file.
    pub target: String,
    /// Whom it was sent to.
    pub host: String,
    /// Versions that the asker has (`If-None-Match`), empty where none.
    pub has: String,
}

/// Why there is no request in what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not whole yet.
    Partial,
    /// It is no HTTP/1.
    Malformed,
    /// It is longer than what is taken.
    TooLong,
}

impl Request {
    /// The head at the beginning of `sent`.
    pub fn parse(sent: &[u8]) -> Result<Self, Unfit> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(sent) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) if sent.len() < HEAD_MAX => return Err(Unfit::Partial),
            Ok(Status::Partial) | Err(Error::TooManyHeaders) => return Err(Unfit::TooLong),
            Err(_) => return Err(Unfit::Malformed),
        }
        let values = |name: &str| {
            let named = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| String::from_utf8_lossy(header.value).into_owned()).collect::<Vec<_>>()
        };
        let ([host], Some(method), Some(target)) = (&values("host")[..], head.method, head.path) else {
            return Err(Unfit::Malformed); // two hosts, or none
        };
        let has = values("if-none-match").join(",");
        Ok(Self { method: method.into(), target: target.into(), host: host.clone(), has })
    }

    /// Whether it was sent to this machine by a name that means nothing else anywhere. A page of somebody else that made its own
    /// name lead here (DNS rebinding) sends that name.
    pub fn is_to_loopback(&self) -> bool {
        let (name, port) = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port),
            _ => (self.host.as_str(), ""),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        port.bytes().all(|digit| digit.is_ascii_digit())
            && (name.eq_ignore_ascii_case("localhost")
                || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
    }

    /// Whether the asker has this version.
    pub fn has(&self, tag: &str) -> bool {
        self.has.split(',').map(|one| one.trim()).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: &str) -> Result<Request, Unfit> {
        Request::parse(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    }

    #[test]
    fn heads_are_taken_whole_or_refused() {
        let sent = "GET /a?b HTTP/1.1\r\nhost: localhost:1\r\nIf-None-Match: W/\"x\", \"y\"\r\n\r\nrest";
        let request = Request::parse(sent.as_bytes()).unwrap();
        assert_eq!((&request.method[..], &request.target[..]), ("GET", "/a?b"));
        assert!(request.has("\"x\"") && request.has("\"y\"") && !request.has("\"z\"") && !request.has("x"));
        for end in 0..sent.len() - "rest".len() {
            assert_eq!(Request::parse(&sent.as_bytes()[..end]), Err(Unfit::Partial), "{end}");
        }
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_MAX));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX));
        for sent in [long, many] {
            assert_eq!(Request::parse(sent.as_bytes()), Err(Unfit::TooLong));
        }
        for sent in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "\x16\x03\x01\x02\0\x01",
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(Request::parse(sent.as_bytes()), Err(Unfit::Malformed), "{sent:?}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in
            ["localhost", "LOCALHOST:9", "127.0.0.1:8137", "127.9.9.9", "[::1]", "[::1]:80", "localhost:"]
        {
            assert!(to(host).unwrap().is_to_loopback(), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8137",
            "10.0.0.1",
            "[::2]:1",
            "evil.example:localhost",
            "localhost:x",
            "0.0.0.0",
            "a@localhost",
            "localhost:1:2",
        ] {
            assert!(!to(host).unwrap().is_to_loopback(), "{host}");
        }
    }
}
