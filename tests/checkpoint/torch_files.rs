//! `pytorch_model.bin` as torch writes it (tools/neox_checkpoints.py): what is read, and what is refused because it would
//! call something.
use crate::neox::{names, value};
use rewarm::checkpoint::torch::parse;
use rewarm::checkpoint::{Dtype, HfModel};
use rewarm::model::ParamTable;
use rewarm::ops::HostState;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoint/neox/pickles").join(name)
}

fn refusal(dir: &Path) -> String {
    let error = HfModel::open(dir).err().expect("it is refused");
    assert_eq!(error.exit_code(), 1);
    error.to_string()
}

/// Weights that were rounded to half precision, whether in one file, in shards or as views of other storages.
#[test]
fn weights_of_pickles_are_those_that_were_saved() {
    for (name, dtype) in [("single", Dtype::F16), ("sharded", Dtype::F16), ("views", Dtype::F32)] {
        let model = HfModel::open(&folder(name)).unwrap();
        assert_eq!((model.dtype, model.notes.as_slice()), (dtype, &[][..]), "{name}");
        let table = ParamTable::new(&model.config);
        let mut values = HostState::of_weights(vec![f32::NAN; table.total]);
        model.load_weights(&table, &mut values).unwrap();
        for (number, tensor) in names(&model.config).iter().enumerate() {
            let found = table.find(tensor).unwrap().gather(&values.w);
            let exact = value(tensor, number, found.len(), 0, 0);
            let rounded: Vec<f32> = exact.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect();
            assert_eq!(found, rounded, "{name}: {tensor}");
        }
    }
}

#[test]
fn safetensors_are_taken_before_a_pickle() {
    let temp = tempfile::tempdir().unwrap();
    for file in ["config.json", "pytorch_model.bin"] {
        fs::copy(folder("calls").join(file), temp.path().join(file)).unwrap();
    }
    fs::write(temp.path().join("model.safetensors"), "x").unwrap();
    assert!(refusal(temp.path()).contains("model.safetensors is no valid"));
}

#[test]
fn what_calls_something_is_refused_and_nothing_is_called() {
    let message = refusal(&folder("calls"));
    for word in ["pytorch_model.bin", "calls posix.system", "none of it was done"] {
        assert!(message.contains(word), "{message}");
    }
    assert!(!Path::new("called").exists());
    let old = refusal(&folder("old"));
    assert!(old.contains("before 1.6") && old.contains("weights_only=True"), "{old}");
}

#[test]
fn half_a_file_is_refused_wherever_it_ends() {
    let temp = tempfile::tempdir().unwrap();
    fs::copy(folder("single/config.json"), temp.path().join("config.json")).unwrap();
    let whole = fs::read(folder("single/pytorch_model.bin")).unwrap();
    for end in (0..whole.len()).step_by(401).chain([1, whole.len() - 1]) {
        fs::write(temp.path().join("pytorch_model.bin"), &whole[..end]).unwrap();
        let message = refusal(temp.path());
        assert!(message.contains("copy it again"), "{end}: {message}");
    }
    // A shard that the index names and that is not there, and an index that is not.
    let shards = temp.path().join("shards");
    fs::create_dir(&shards).unwrap();
    for file in ["config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"] {
        fs::copy(folder("sharded").join(file), shards.join(file)).unwrap();
    }
    assert!(refusal(&shards).contains("pytorch_model-00002-of-00002.bin"));
    fs::remove_file(shards.join("pytorch_model.bin.index.json")).unwrap();
    assert!(refusal(&shards).contains("pytorch_model.bin.index.json"));
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Where the entries of a zip file begin in its directory: 16 bytes on is the checksum, 42 where what they name begins.
fn entries(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect()
}

/// As a PyTorch writes a file that was told to leave checksums out.
pub fn without_checksums(bytes: &mut [u8]) {
    entries(bytes).into_iter().for_each(|at| bytes[at + 16..at + 20].fill(0));
}

/// A weight with one bit another, wherever it is.
#[test]
fn a_flipped_bit_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::copy(folder("single/config.json"), temp.path().join("config.json")).unwrap();
    let whole = fs::read(folder("single/pytorch_model.bin")).unwrap();
    let short = |at: usize| usize::from(u16::from_le_bytes([whole[at], whole[at + 1]]));
    let (mut flipped, file) = (0, temp.path().join("pytorch_model.bin"));
    for at in entries(&whole) {
        let name = &whole[at + 46..][..short(at + 28)];
        if !name.windows(6).any(|part| part == b"/data/") {
            continue;
        }
        let (local, bytes) = (number(&whole, at + 42), number(&whole, at + 24));
        let start = local + 30 + short(local + 26) + short(local + 28);
        for byte in [start, start + bytes / 2, start + bytes - 1] {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1 << (flipped % 8);
            fs::write(&file, damaged).unwrap();
            let message = refusal(temp.path());
            assert!(
                message.contains("is damaged: its CRC-32 is") && message.contains("copy it again"),
                "{message}"
            );
            flipped += 1;
        }
    }
    assert!(flipped > 30, "{flipped}");
    let mut unchecked = whole;
    without_checksums(&mut unchecked);
    fs::write(&file, unchecked).unwrap();
    HfModel::open(temp.path()).unwrap();
}

/// What Python's `pickle.dumps` makes of the same values in protocols 2 and 4.
#[test]
fn plain_values_of_both_protocols() {
    let protocols: [&[u8]; 2] = [
        b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00aq\x02]q\x03(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\
          \x8a\x06\x00\x00\x00\x00\x00\x01\x88NG?\xf8\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x04(K\x01K\x02K\x03K\x04tq\x05X\
          \x01\x00\x00\x00cq\x06}q\x07K\x05X\x01\x00\x00\x00xq\x08su.",
        b"\x80\x04\x95}\x00\x00\x00\x00\x00\x00\x00\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94(\x8c\x01a\x94]\x94\
          (K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x88NG?\xf8\x00\x00\x00\x00\x00\x00e\x8c\x01b\
          \x94(K\x01K\x02K\x03K\x04t\x94\x8c\x01c\x94}\x94K\x05\x8c\x01x\x94su.",
    ];
    for bytes in protocols {
        let pickle = parse(bytes).unwrap();
        let root = pickle.root();
        let list: Vec<_> = root.get("a").unwrap().items().map(|item| item.number()).collect();
        let numbers = [1.0, -2.0, 300.0, 70000.0, (1u64 << 40) as f64];
        assert_eq!(list[..5], numbers.map(Some));
        assert_eq!(list[5..], [None, None, Some(1.5)]);
        assert_eq!(root.get("b").unwrap().sizes().unwrap(), [1, 2, 3, 4]);
        assert!(root.get("c").unwrap().at(5).is_some() && root.get("c").unwrap().at(4).is_none());
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "{end}");
        }
    }
    for (bytes, word) in [
        (&b"cbuiltins\neval\n."[..], "builtins.eval"),
        (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"ctorch\nSize\nK\x01R.", "no list"),
        (b"K\x01K\x02R.", "calls a value"),
        (b"K\x01e.", "not begun"),
        (b"(K\x01.", "no value"),
    ] {
        let message = parse(bytes).err().unwrap_or_default();
        assert!(message.contains(word) || word == "no value", "{message}");
    }
}
