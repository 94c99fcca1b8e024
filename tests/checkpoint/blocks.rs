//! Tensors of more than one block: each has a hash of its own, and every one counts.
use crate::common::{Rng, Run, run_dir};
use rewarm::checkpoint::{find_newest, step_name, verify};
use rewarm::files::simulate::Memory;
use rewarm::model::{ModelConfig, ParamTable};
use rewarm::ops::HostState;
use std::collections::BTreeSet;

/// Its embedding has 35 MB, which end in the third block.
fn large() -> Run {
    let run = Run::at(3);
    let config = ModelConfig { vocab_size: 1_100_000, tie_word_embeddings: true, ..run.config };
    let table = ParamTable::new(&config);
    let mut rng = Rng(3);
    let mut values = || (0..table.total).map(|_| rng.float()).collect::<Vec<f32>>();
    let values = HostState { w: values(), m: values(), v: values(), ema: values() };
    Run { config, table, values, state: run.state, extra: run.extra }
}

/// A bit of each block of the moments, somewhere in it, and the first and the last of its bytes.
#[test]
fn every_block_counts() {
    let (disk, run) = (Memory::new(&run_dir()), large());
    run.save(&disk, &run_dir()).unwrap();
    let found = find_newest(&disk, &run_dir()).unwrap();
    assert_eq!(run.equals(&disk, &found.dir), Ok(true));
    let (file, block_bytes) = ("optimizer.safetensors", found.manifest.block_bytes as usize);
    let path = run_dir().join(step_name(3)).join(file);
    let good = disk.get(&path).unwrap();
    let mut rng = Rng::from_env("every_block_counts");
    let mut start = found.manifest.files[file].head_bytes.unwrap() as usize;
    let (mut hashes, mut blocks) = (BTreeSet::new(), 0);
    for (name, tensor) in found.manifest.tensors.iter().filter(|(_, tensor)| tensor.file == file) {
        let end = start + tensor.bytes as usize;
        for (number, hash) in tensor.blocks.iter().enumerate() {
            let bytes = block_bytes.min(end - start);
            for at in [start, start + rng.below(bytes), start + bytes - 1] {
                let mut bad = good.clone();
                bad[at] ^= 1 << rng.below(8);
                disk.put(&path, bad);
                let reason = verify(&disk, &found.dir).expect_err(&format!("byte {at} was changed"));
                let expected = format!("{file}: block {number} of {name} has hash ");
                assert!(reason.starts_with(&expected), "{reason}");
            }
            start += bytes;
            hashes.insert(hash);
            blocks += 1;
        }
    }
    assert_eq!(start, good.len(), "blocks cover the file");
    assert!(hashes.len() == blocks && blocks == found.manifest.tensors.len() / 2 + 4, "{blocks} blocks");
}
