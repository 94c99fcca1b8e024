//! Reading samples: from the page cache, and from where the shards are stored.
use super::{Machine, Record, time_s};
use crate::data::{Batch, Corpus, Order, Side, Split, fill_batch};
use crate::{Error, Result};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// Batches read from the page cache, and for how long at least.
const SAMPLES: usize = 20;
const TIME: Duration = Duration::from_millis(500);
/// Batches read cold; the files are opened anew for each.
const COLD_SAMPLES: usize = 10;

/// Shards and how they are read.
pub struct Reading {
    /// The shards, as [`crate::data::Corpus::open`] takes them.
    pub shards: Vec<String>,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Sequences of a batch.
    pub sequences: usize,
}

impl Reading {
    fn order(&self) -> Result<Order> {
        let corpus = Arc::new(Corpus::open(&self.shards)?);
        Order::new(corpus, Side::All, Split::NONE, self.seq_len, 1)
    }

    /// Batches in the order of a run, from the page cache and cold.
    pub fn run(&self, machine: &Machine) -> Result<Vec<Record>> {
        let (mut batch, mut sample, order) = (Batch::default(), 0, self.order()?);
        let mut next = |order: &Order| {
            sample += self.sequences as u64;
            fill_batch(order, sample, self.sequences, u32::MAX, &mut batch)
        };
        // All pages are touched before they are timed.
        (0..order.windows().div_ceil(self.sequences as u64)).try_for_each(|_| next(&order))?;
        let warm = time_s(SAMPLES, TIME, || next(&order))?;
        drop(order);

        let (mut cold, mut fetched) = (Vec::new(), 0);
        for _ in 0..COLD_SAMPLES {
            self.forget_pages()?;
            let (order, before) = (self.order()?, storage_bytes());
            cold.extend(time_s(1, Duration::ZERO, || next(&order))?);
            fetched += storage_bytes().unwrap_or(0) - before.unwrap_or(0);
        }
        let mut records = vec![self.record("data page-cache", machine, warm, Value::Null)];
        if fetched > 0 {
            let bytes = json!(fetched / COLD_SAMPLES as u64);
            records.push(self.record("data cold", machine, cold, bytes));
        }
        Ok(records)
    }

    /// Asks the system to drop what it caches of the shards. Nobody may have them mapped.
    fn forget_pages(&self) -> Result<()> {
        let corpus = Corpus::open(&self.shards)?;
        let paths: Vec<_> = corpus.shards().iter().map(|shard| shard.path().to_path_buf()).collect();
        drop(corpus);
        paths.iter().try_for_each(|path| {
            let file = File::open(path).map_err(Error::input("open", path))?;
            file.sync_all().map_err(Error::io("write back", path))?; // dirty pages stay
            fadvise(&file, 0, None, Advice::DontNeed).map_err(|e| Error::io("uncache", path)(e.into()))
        })
    }

    fn record(&self, name: &str, machine: &Machine, samples: Vec<f64>, fetched: Value) -> Record {
        let settings = json!({
            "implementation": "rewarm",
            "data": self.shards,
            "seq_len": self.seq_len,
            "sequences": self.sequences,
            "threads": rayon::current_num_threads(),
        });
        let tokens = (self.sequences * (self.seq_len + 1)) as f64;
        Record::new("bench data", machine, name.into(), settings, samples, |summary| {
            json!({
                "tokens_per_s": tokens / summary.median,
                "fetched_bytes_per_batch": fetched,
            })
        })
    }
}

/// Bytes that this process has had fetched from storage.
fn storage_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes:"))?.trim().parse().ok()
}
