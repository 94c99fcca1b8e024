//! `rewarm export`: a checkpoint as a Hugging Face directory.
use super::common::one_of;
use crate::Result;
use crate::checkpoint::{self, Dtype, Export};
use crate::model::ParamTable;
use crate::ops::Part;
use crate::train::OpenModel;
use std::path::PathBuf;

/// Arguments of `rewarm export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Run directory (its newest step), step directory or Hugging Face directory
    model: PathBuf,
    /// The new directory; its parents are made where they are missing
    output: PathBuf,
    /// The moving average that train.ema kept, instead of the weights
    #[arg(long)]
    ema: bool,
    /// Element type of the weights [default: that of the model, f32 for checkpoints]
    #[arg(long, value_parser = one_of::<Dtype>())]
    dtype: Option<Dtype>,
    /// Largest weight file, such as 2GB, 500MB or 5GiB, or in bytes; more are split and indexed
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    max_shard_bytes: u64,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<()> {
    checkpoint::check_new(&args.output)?;
    OpenModel::read(&args.model, |source| write(args, source))?;
    crate::console::print(&args.output.display().to_string())
}

fn write(args: &ExportArgs, source: &OpenModel) -> Result<()> {
    let dtype = args.dtype.unwrap_or(source.dtype());
    let config = source.config();
    let table = ParamTable::new(config);
    let weights = source.open_tensors(&table, if args.ema { Part::Average } else { Part::Weights })?;
    let export = Export {
        config,
        table: &table,
        dtype,
        base_config: Some(source.raw_config()),
        companions_from: Some(source.dir()),
        max_shard_bytes: args.max_shard_bytes,
    };
    checkpoint::export(&args.output, &export, &weights)
}

/// A number of bytes as transformers' `max_shard_size` spells it: powers of 1000, or with an i of 1024, in any case.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim_start().to_ascii_lowercase());
    let (power, base) = match unit.strip_suffix('b').unwrap_or("") {
        "" if unit.is_empty() || unit == "b" => (0, 1000u64),
        "k" => (1, 1000),
        "m" => (2, 1000),
        "g" => (3, 1000),
        "t" => (4, 1000),
        "ki" => (1, 1024),
        "mi" => (2, 1024),
        "gi" => (3, 1024),
        "ti" => (4, 1024),
        _ => {
            return Err(
                "expected bytes as a number, or with KB, MB, GB, TB, KiB, MiB, GiB or TiB, as in 2GB".into(),
            );
        }
    };
    let unit = base.pow(power);
    let bytes = match number.parse::<u64>() {
        Ok(count) => count.checked_mul(unit),
        // Up to 2^53 exact; a fraction of a byte is cut off, as transformers does.
        Err(_) => {
            number.parse::<f64>().ok().map(|count| (count * unit as f64) as u64).filter(|n| *n < 1 << 53)
        }
    };
    bytes.filter(|bytes| *bytes > 0).ok_or("expected at least 1 byte and less than 2^64, as in 500MB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of huggingface_hub's `parse_size_to_int`, and 1024 where there is an i.
    #[test]
    fn sizes_are_those_of_transformers() {
        for (text, bytes) in [
            ("5MB", 5_000_000),
            ("2GB", 2_000_000_000),
            ("5GiB", 5 << 30),
            ("1.5GB", 1_500_000_000),
            ("500 KB", 500_000),
            ("1tb", 1_000_000_000_000),
            ("3mib", 3 << 20),
            ("0.5KiB", 512),
            ("1", 1),
            ("123456789012", 123_456_789_012),
            ("7B", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "0",
            "0MB",
            "GB",
            "5X",
            "5M",
            "5GBs",
            "-1",
            "-5MB",
            "1e9",
            "MB5",
            "1.2.3GB",
            "nan",
            "99999999TB",
            "0.0001B",
            "٥MB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
