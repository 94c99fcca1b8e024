//! Streams: queues of commands, and who runs when.
use super::super::{Gemm, Launch, Rows, Span};
use super::StreamTiming;
use std::collections::VecDeque;
use std::sync::Arc;

/// Something a stream does. Everything was checked when it was given.
pub enum Command {
    Launch(Launch),
    Gemm(Gemm),
    /// Number of pinned memory, first byte of it, device memory.
    Upload(usize, usize, Rows),
    /// Device memory, number of pinned memory, first byte of it.
    Download(Rows, usize, usize),
    Fill(Span, u8),
    Wait(Position),
    /// Number of the event whose time it is.
    Stamp(usize),
}

/// The first `commands` of a stream: what an event stands for.
#[derive(Clone, Copy)]
pub struct Position {
    pub stream: usize,
    pub commands: u64,
}

#[derive(Default)]
struct Stream {
    waiting: VecDeque<Arc<Command>>,
    done: u64,
}

pub struct Streams {
    timing: StreamTiming,
    streams: Vec<Stream>,
}

impl Streams {
    pub fn new(timing: StreamTiming) -> Self {
        Self { timing, streams: Vec::new() }
    }

    /// A new one, by number.
    pub fn add(&mut self) -> usize {
        self.streams.push(Stream::default());
        self.streams.len() - 1
    }

    pub fn contains(&self, stream: usize) -> bool {
        stream < self.streams.len()
    }

    /// All that the stream has been given.
    pub fn position(&self, stream: usize) -> Position {
        let s = &self.streams[stream];
        Position { stream, commands: s.done + s.waiting.len() as u64 }
    }

    pub fn push(&mut self, stream: usize, command: Arc<Command>) {
        self.streams[stream].waiting.push_back(command);
    }

    fn is_done(&self, to: Position) -> bool {
        self.streams[to.stream].done >= to.commands
    }

    /// Takes the stream's next command; the one of a wait that is not over stays, and its event comes back.
    fn step(&mut self, stream: usize, run: &mut impl FnMut(&Command)) -> Option<Position> {
        let next = self.streams[stream].waiting.front()?.clone();
        match &*next {
            Command::Wait(event) if !self.is_done(*event) => return Some(*event),
            Command::Wait(_) => (),
            command => run(command),
        }
        self.streams[stream].waiting.pop_front();
        self.streams[stream].done += 1;
        None
    }

    /// Eager streams run until they are empty or wait for a lazy one.
    pub fn advance(&mut self, run: &mut impl FnMut(&Command)) {
        let eager: Vec<_> = (0..self.streams.len()).filter(|&s| self.timing.is_eager(s)).collect();
        loop {
            let before: u64 = self.streams.iter().map(|s| s.done).sum();
            for &stream in &eager {
                while !self.streams[stream].waiting.is_empty() && self.step(stream, run).is_none() {}
            }
            if self.streams.iter().map(|s| s.done).sum::<u64>() == before {
                return;
            }
        }
    }

    /// Runs what `to` needs and nothing else. This ends: an event stands for commands given before its wait was.
    pub fn force(&mut self, to: Position, run: &mut impl FnMut(&Command)) {
        let mut needed = vec![to];
        while let Some(&position) = needed.last() {
            if self.is_done(position) {
                needed.pop();
            } else if let Some(event) = self.step(position.stream, run) {
                needed.push(event);
            }
        }
    }
}
