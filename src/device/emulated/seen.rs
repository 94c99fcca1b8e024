//! What the host knows to have happened: of every stream the commands before something that it has waited for. That
//! they have run is not enough: on a GPU they may not have.
use super::super::Event;
use std::collections::HashMap;

/// Of each stream, how many commands have happened at least.
type Clock = Vec<u64>;

#[derive(Default)]
pub struct Seen {
    /// Of each stream: once it is done with everything.
    streams: Vec<Clock>,
    /// Of each event that was recorded: once it has happened.
    events: HashMap<Event, Clock>,
    host: Clock,
}

impl Seen {
    /// A stream, counted like those before.
    pub fn add_stream(&mut self) {
        self.streams.push(Clock::new());
    }

    /// So many commands more.
    pub fn give(&mut self, stream: usize, commands: usize) {
        let clock = &mut self.streams[stream];
        clock.resize(clock.len().max(stream + 1), 0);
        clock[stream] += commands as u64;
    }

    pub fn record(&mut self, event: Event, stream: usize) {
        self.events.insert(event, self.streams[stream].clone());
    }

    pub fn wait(&mut self, stream: usize, event: Event) {
        self.events.get(&event).inspect(|clock| merge(&mut self.streams[stream], clock));
    }

    pub fn synchronize(&mut self, event: Event) {
        self.events.get(&event).inspect(|clock| merge(&mut self.host, clock));
    }

    /// A stream that may still be working.
    pub fn busy(&self) -> Option<usize> {
        let count = |clock: &Clock, stream| clock.get(stream).copied().unwrap_or(0);
        (0..self.streams.len())
            .find(|&stream| count(&self.streams[stream], stream) > count(&self.host, stream))
    }
}

fn merge(into: &mut Clock, from: &Clock) {
    into.resize(into.len().max(from.len()), 0);
    into.iter_mut().zip(from).for_each(|(a, b)| *a = (*a).max(*b));
}
