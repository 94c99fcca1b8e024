//! A page that follows its runs, served to browsers: one thread per connection, one request on each. Clients that are slow lose
//! theirs: each has seconds to ask and to read, and where there are too many the oldest is closed.
mod follow;
mod live;
mod request;
mod site;

pub use live::Live;

use request::{HEAD_MAX, Request, Unfit};
use site::{Answer, Site};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Connections at most.
const OPEN_MAX: usize = 128;
/// How long a request may take to come, and its answer to be taken: large ones, through slow tunnels.
const ASK_WITHIN: Duration = Duration::from_secs(5);
const TAKE_WITHIN: Duration = Duration::from_secs(60);
/// How long an answered connection is listened to, so that what is still on its way does not undo the answer.
const LINGER: Duration = Duration::from_secs(1);
/// After a connection could not be accepted, as without free file descriptors.
const REST: Duration = Duration::from_millis(50);

/// A server that listens already.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    site: Arc<Site>,
    open: Arc<Open>,
}

/// Connections, oldest first.
#[derive(Debug, Default)]
struct Open(Mutex<VecDeque<Arc<TcpStream>>>);

impl Server {
    /// Listens on `HOST:PORT`, where port 0 is any free one. Refused where that cannot be.
    pub fn bind(address: &str, live: Live) -> Result<Self> {
        let listen =
            || TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (found, listener) = listen().map_err(|e| {
            Error::refused(match e.kind() {
                ErrorKind::AddrInUse => format!(
                    "{address} is taken, perhaps by another page; `--serve 127.0.0.1:0` takes any free port"
                ),
                _ => format!("cannot listen on {address}: {e}; name an address of this machine and a port, as in 127.0.0.1:8137"),
            })
        })?;
        let site = Arc::new(Site::new(live, found.ip().is_loopback()));
        Ok(Self { listener, address: found, site, open: Arc::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process ends.
    pub fn run(&self) -> ! {
        loop {
            let Ok((stream, _)) = self.listener.accept() else {
                thread::sleep(REST);
                continue;
            };
            let stream = self.open.enter(stream);
            let (site, open, own) = (self.site.clone(), self.open.clone(), stream.clone());
            let talk = move || {
                let _ = talk(&site, &own); // whoever asked has gone, or was too slow
                open.leave(&own);
            };
            if thread::Builder::new().name("page".into()).spawn(talk).is_err() {
                self.open.leave(&stream);
                thread::sleep(REST);
            }
        }
    }
}

impl Open {
    fn list(&self) -> MutexGuard<'_, VecDeque<Arc<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, in place of the oldest where there are enough.
    fn enter(&self, stream: TcpStream) -> Arc<TcpStream> {
        let stream = Arc::new(stream);
        let mut list = self.list();
        list.push_back(stream.clone());
        if list.len() > OPEN_MAX
            && let Some(oldest) = list.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both); // its thread reads or writes in vain and ends
        }
        stream
    }

    fn leave(&self, stream: &Arc<TcpStream>) {
        self.list().retain(|other| !Arc::ptr_eq(other, stream));
    }
}

/// One connection from its request to its end.
fn talk(site: &Site, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = match asked(stream)? {
        Ok(request) => site.answer(&request),
        Err(Unfit::Partial) => Answer::said("408 Request Timeout", "the request did not come to its end"),
        Err(Unfit::Malformed) => {
            Answer::said("400 Bad Request", "expected a request of HTTP/1.1 with one Host")
        }
        Err(Unfit::TooLong) => {
            Answer::said("431 Request Header Fields Too Large", "the head of the request is too long")
        }
    };
    let until = Instant::now() + TAKE_WITHIN;
    give(stream, answer.head().as_bytes(), until)?;
    answer.body().try_for_each(|part| give(stream, part, until))?;
    stream.shutdown(Shutdown::Write)?;
    let until = Instant::now() + LINGER;
    let mut rest = [0; 4096];
    while hear(stream, &mut rest, until)? > 0 {}
    Ok(())
}

/// The request, when its head has come.
fn asked(stream: &TcpStream) -> io::Result<Result<Request, Unfit>> {
    let until = Instant::now() + ASK_WITHIN;
    let (mut sent, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = match hear(stream, &mut piece, until) {
            Err(e) if e.kind() == ErrorKind::TimedOut && !sent.is_empty() => return Ok(Err(Unfit::Partial)),
            other => other?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        // A head is parsed when its end may be there, not at every byte of it.
        let from = sent.len().saturating_sub(3);
        sent.extend(&piece[..count]);
        let ended = sent[from..].windows(2).any(|pair| pair == b"\n\n" || pair == b"\n\r");
        if ended || sent.len() >= HEAD_MAX {
            match Request::parse(&sent) {
                Err(Unfit::Partial) => {}
                found => return Ok(found),
            }
        }
    }
}

/// Reads what is there, waiting until then at most.
fn hear(mut stream: &TcpStream, piece: &mut [u8], until: Instant) -> io::Result<usize> {
    stream.set_read_timeout(Some(left(until)?))?;
    stream.read(piece).map_err(timed_out)
}

/// Writes it all, until then at most.
fn give(mut stream: &TcpStream, mut text: &[u8], until: Instant) -> io::Result<()> {
    while !text.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        // A write waits for its time once: small pieces, so that a reader of single bytes does not stretch it.
        match stream.write(&text[..text.len().min(64 << 10)]).map_err(timed_out)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => text = &text[count..],
        }
    }
    Ok(())
}

/// The time that is left.
fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// What the end of a socket's time is called differs between systems.
fn timed_out(e: io::Error) -> io::Error {
    if e.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { e }
}
