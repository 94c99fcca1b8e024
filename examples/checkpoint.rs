//! Reading a checkpoint: what it says of itself, and its weights.
//!
//! `cargo run --release --example checkpoint -- runs/tiny`, after the example `train`; any run directory will do.
use rewarm::checkpoint::{Disk, find_newest, load};
use rewarm::model::ParamTable;
use rewarm::ops::HostState;
use std::path::PathBuf;

fn main() -> rewarm::Result<()> {
    let run: PathBuf = std::env::args_os().nth(1).expect("usage: checkpoint RUN").into();

    // The newest step whose manifest, lengths and hashes all hold. One that a crash or a bad disk has damaged is passed
    // over, and named.
    let found = find_newest(&Disk, &run)?;
    for rejected in &found.rejected {
        println!("passed over {}: {}", rejected.dir.display(), rejected.reason);
    }
    let state = &found.manifest.state;
    println!("{}: step {}, {} tokens, seed {}", found.dir.display(), state.step, state.tokens, state.seed);
    for (name, file) in &found.manifest.files {
        println!("{:>10} bytes  {}  {name}", file.bytes, file.xxh3_128);
    }

    // Weights, gradients and moments are flat buffers of f32; the table says which tensor lies where in them.
    let table = ParamTable::new(&found.manifest.model);
    let zeros = || vec![0f32; table.total];
    let mut state = HostState { w: zeros(), m: zeros(), v: zeros(), ema: Vec::new() };
    // With the moments. `find_newest` has hashed every byte.
    load(&Disk, &found.dir, &table, &mut state, true)?;

    println!("{} tensors, {} parameters", table.params.len(), found.manifest.model.parameters());
    for param in &table.params {
        let rms = |flat: &[f32]| {
            let values = param.gather(flat); // contiguous, row-major
            (values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        println!(
            "{:<52} {:?}: rms {:.2e}, of its moments {:.1e} {:.1e}",
            param.name,
            param.shape,
            rms(&state.w),
            rms(&state.m),
            rms(&state.v)
        );
    }
    Ok(())
}
