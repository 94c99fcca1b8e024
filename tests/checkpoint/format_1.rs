//! Checkpoints of format 1, whose manifests have one hash of each file and of each tensor, as earlier commits wrote. The
//! one in `format-1` is [`Run::at`] step 5.
use crate::common::{Run, names, run_dir};
use rewarm::checkpoint::{FORMAT, find_newest, step_name, verify};
use rewarm::files::simulate::Memory;
use std::path::Path;

/// A disk with that checkpoint.
fn old() -> Memory {
    let disk = Memory::new(&run_dir());
    let step = step_name(5);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoint/format-1").join(&step);
    disk.put_dir(&run_dir().join(&step));
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = run_dir().join(&step).join(path.file_name().unwrap());
        disk.put(&name, std::fs::read(path).unwrap());
    }
    disk
}

#[test]
fn it_is_found_and_loaded() {
    let disk = old();
    let found = find_newest(&disk, &run_dir()).unwrap();
    assert_eq!((found.manifest.format, found.rejected.len()), (1, 0));
    assert_ne!(found.manifest.format, FORMAT, "today's format is another");
    assert_eq!(Run::at(5).equals(&disk, &found.dir), Ok(true));
}

#[test]
fn every_changed_byte_is_found() {
    let disk = old();
    let dir = run_dir().join(step_name(5));
    let mut bytes = 0;
    for file in
        ["model.safetensors", "optimizer.safetensors", "ema.safetensors", "config.json", "manifest.json"]
    {
        let path = dir.join(file);
        let good = disk.get(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            disk.put(&path, bad);
            let reason = verify(&disk, &dir).expect_err(&format!("byte {at} of {file} was changed"));
            assert!(reason.contains(file), "{reason}");
            bytes += 1;
        }
        disk.put(&path, good);
    }
    assert_eq!(verify(&disk, &dir).map(|manifest| manifest.state.step), Ok(5));
    println!("{bytes} changed bytes found");
}

/// A resumed run that reaches it again has saved it already; another state is refused, as is a file more.
#[test]
fn the_same_state_is_not_saved_again() {
    let (disk, untouched) = (old(), old());
    Run::at(5).save(&disk, &run_dir()).unwrap();
    assert!(disk.tree() == untouched.tree(), "the earlier format stays");
    let weight = |run: &mut Run| run.values.w[3] += 1.0;
    let moment = |run: &mut Run| run.values.v[3] += 1.0;
    let position = |run: &mut Run| run.state.sample += 1;
    let tokenizer = |run: &mut Run| run.extra[0].1.push(b' ');
    let more = |run: &mut Run| run.extra.push(("LICENSE".into(), b"free".to_vec()));
    let less = |run: &mut Run| run.extra.clear();
    let changes: [&dyn Fn(&mut Run); 6] = [&weight, &moment, &position, &tokenizer, &more, &less];
    for change in changes {
        let mut run = Run::at(5);
        change(&mut run);
        let error = run.save(&disk, &run_dir()).unwrap_err().to_string();
        assert!(error.contains("is a valid checkpoint of another state of step 5"), "{error}");
        assert!(disk.tree() == untouched.tree());
    }
}

/// It is one of the two that stay, as long as it verifies.
#[test]
fn it_rotates_with_those_of_today() {
    let disk = old();
    Run::at(6).save(&disk, &run_dir()).unwrap();
    assert_eq!(names(&disk), [step_name(5), step_name(6)]);
    Run::at(7).save(&disk, &run_dir()).unwrap();
    assert_eq!(names(&disk), [step_name(6), step_name(7)]);
    let damaged = old();
    damaged.put(&run_dir().join(step_name(5)).join("ema.safetensors"), vec![1; 4824]);
    Run::at(6).save(&damaged, &run_dir()).unwrap();
    assert_eq!(find_newest(&damaged, &run_dir()).unwrap().manifest.state.step, 6);
}
