//! The plan as a person reads it.
use super::Plan;
use crate::backend::MemoryPlan;
use crate::train::readable;
use std::fmt;

/// 10⁶ bytes.
fn mb(bytes: impl TryInto<u64>) -> f64 {
    bytes.try_into().unwrap_or(u64::MAX) as f64 / 1e6
}

/// `n/a` where there is none.
fn known<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or("n/a".into(), show)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = known(self.free_bytes, |bytes| format!("{:.0} MB free", mb(bytes)));
        writeln!(f, "device            {:>14}, {free}", self.device)?;
        writeln!(f, "parameters        {:>14}", self.parameters)?;
        writeln!(
            f,
            "FLOPs per token   {:>14.4} GFLOP (6 per matmul parameter, causal attention at half of T², T = {})",
            self.flops_per_token / 1e9,
            self.seq_len
        )?;
        writeln!(f, "precision         {:>14}", self.precision)?;
        writeln!(f, "sequences         {:>14} at once, {} a step", self.micro_batch, self.sequences)?;
        write!(f, "{}", self.memory_bytes)?;
        if self.process_bytes > 0 {
            let [process, all] = [self.process_bytes, self.memory_bytes_total].map(mb);
            writeln!(f, "with the process  {all:>14.1} MB, itself {process:.1} MB")?;
        }
        self.write_choices(f)?;
        self.write_time(f)?;
        self.evaluations.map_or(Ok(()), |evaluations| writeln!(f, "evaluations       {evaluations}"))?;
        self.write_checkpoints(f)?;
        if !self.what_would_fit.is_empty() {
            writeln!(f, "does not fit; what would:")?;
            self.what_would_fit.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        if !self.assumptions.is_empty() {
            writeln!(f, "predicted, not measured, from")?;
            self.assumptions.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

impl Plan {
    /// One line for each value of `train.recompute`.
    fn write_choices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "train.recompute      activations     memory in all  logit rows  fits  most at once  predicted tokens/s"
        )?;
        for c in &self.memory_by_recompute {
            let chosen = if c.recompute == self.recompute { "  as above" } else { "" };
            let [activations, all] = [c.activations_bytes, c.memory_bytes_total].map(mb);
            let fits = known(c.fits, |fits| if fits { "yes" } else { "no" }.into());
            let most = known(c.largest_micro_batch, |most| most.to_string());
            let rate = known(c.predicted, |p| format!("{:.0} ({:.0} % MFU)", p.tokens_per_s, 100.0 * p.mfu));
            writeln!(
                f,
                "  {:<16}{activations:>11.1} MB {all:>14.1} MB {:>11} {fits:>5} {most:>13}  {rate}{chosen}",
                c.recompute, c.chunk_rows
            )?;
        }
        Ok(())
    }

    fn write_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = self.memory_by_recompute.iter().find(|c| c.recompute == self.recompute);
        if let Some(p) = chosen.and_then(|c| c.predicted) {
            let ms = |seconds: f64| 1e3 * seconds;
            writeln!(
                f,
                "step              {:>14.1} ms predicted: products {:.1}, attention {:.1}, memory {:.1}, logits {:.1}, \
                 update {:.1}, gaps {:.1}, over the calibration",
                ms(p.step_s),
                ms(p.products_s),
                ms(p.attention_s),
                ms(p.memory_s),
                ms(p.logits_s),
                ms(p.update_s),
                ms(p.gaps_s)
            )?;
        }
        if let Some(tokens) = self.tokens {
            writeln!(f, "tokens            {tokens:>14}")?;
        }
        for source in self.sources.iter().flatten() {
            writeln!(f, "data              {source}")?;
        }
        if let (Some(rate), Some(days)) = (self.tokens_per_s, self.days) {
            writeln!(f, "time              {:>14} at {rate:.0} tokens/s", readable(86400.0 * days))?;
        }
        if let Some(cost) = self.cost {
            writeln!(f, "cost              {cost:>14.2} in the currency of the price")?;
        }
        Ok(())
    }

    fn write_checkpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.checkpoint;
        let written = known(c.bytes_written, |bytes| format!("{:.1} GB", bytes as f64 / 1e9));
        let rate = known(c.bytes_per_s, |rate| format!("{:.1} MB/s on average", rate / 1e6));
        writeln!(
            f,
            "checkpoint        {:>14.1} MB every {}: {rate}, {written} written in all, at most {:.1} GB on disk{}",
            mb(c.bytes),
            c.every,
            c.bytes_on_disk as f64 / 1e9,
            if c.milestones > 0 { format!(", {} of them milestones", c.milestones) } else { String::new() }
        )?;
        writeln!(
            f,
            "host memory       {:>14.1} MB that checkpoints pass through, in pieces",
            mb(c.host_bytes)
        )
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("moments", self.moments),
            ("moving average", self.ema),
            ("activations", self.activations),
            ("logits", self.logits),
            ("scratch", self.scratch),
            ("memory in all", self.total()),
        ];
        // Few runs have one.
        let mut rows = rows.iter().filter(|(name, bytes)| *name != "moving average" || *bytes > 0);
        rows.try_for_each(|(name, bytes)| writeln!(f, "{name:<18}{:>14.1} MB", *bytes as f64 / 1e6))
    }
}
