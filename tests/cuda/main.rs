//! The `cuda` device without a GPU: machines on which something is missing get one clear error, and the calls
//! themselves run against a fake driver (fake.c) that checks order, arguments and that everything is freed.
mod device;

use rewarm::device::Cuda;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// `libcuda.so.1` and, with the fake driver, `libcublasLt.so.13` from C source.
fn libraries(source: &Path, blas: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("libcuda.so.1");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source);
    assert!(cc.status().expect("cc").success());
    if blas {
        std::os::unix::fs::symlink(&library, dir.path().join("libcublasLt.so.13")).unwrap();
    }
    dir
}

fn stub(source: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stub.c");
    fs::write(&file, source).unwrap();
    libraries(&file, false)
}

fn fake() -> TempDir {
    libraries(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda/fake.c")), true)
}

/// `rewarm doctor --json`, which never fails.
fn doctor(dir: &Path, env: &[(&str, &str)]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewarm"));
    command
        .args(["doctor", "--json"])
        .env("LD_LIBRARY_PATH", dir)
        .env("CUDA_HOME", dir)
        .envs(env.iter().copied());
    let said = command.output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    serde_json::from_slice(&said.stdout).unwrap()
}

/// A test of this file that is run in a process of its own, with these libraries.
fn child(test: &str, dir: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("LD_LIBRARY_PATH", dir).env("CUDA_HOME", dir).env("CHILD", "1").envs(env.iter().copied());
    command.output().unwrap()
}

/// What `Cuda::open(0)` says, and that it neither panics nor prints.
fn open_says(dir: &Path, env: &[(&str, &str)]) -> String {
    let out = child("open_in_child", dir, env);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && !String::from_utf8_lossy(&out.stderr).contains("panicked"), "{out:?}");
    let line = text.lines().find_map(|line| line.split_once("OPEN: "));
    line.unwrap_or_else(|| panic!("{out:?}")).1.to_owned()
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn open_in_child() {
    if std::env::var_os("CHILD").is_some() {
        let index = std::env::var("INDEX").map_or(0, |i| i.parse().unwrap());
        match Cuda::open(index) {
            Ok(device) => println!("OPEN: {}", device.name()),
            Err(e) => println!("OPEN: {} {e}", e.exit_code()),
        }
    }
}

/// Both ways of looking say the same.
fn both_say(dir: &Path, env: &[(&str, &str)], parts: &[&str]) {
    let (said, state) = (open_says(dir, env), doctor(dir, env));
    let problems = state["cuda"]["problems"].to_string();
    for part in parts {
        assert!(said.contains(part), "{said}\n{part}");
        assert!(problems.contains(part), "{problems}\n{part}");
    }
    assert!(said.starts_with("1 "), "{said}");
    assert_eq!(state["devices"][0]["name"], "cpu");
    assert_eq!(state["devices"][1]["available"], false);
}

#[test]
fn a_machine_without_a_driver_is_told_to_install_one() {
    let dir = tempfile::tempdir().unwrap();
    if doctor(dir.path(), &[])["cuda"]["driver"].is_null() {
        both_say(dir.path(), &[], &["no CUDA driver (looked for libcuda.so.1", "install NVIDIA's driver"]);
    }
}

#[test]
fn a_library_that_is_no_driver_is_one_error() {
    let empty = stub("");
    both_say(empty.path(), &[], &["no CUDA driver (libcuda.so.1 lacks", "(cuInit, cuDriverGetVersion"]);
    fs::write(empty.path().join("libcuda.so.1"), "not a library").unwrap();
    // Another of the names may be a driver of this machine.
    if doctor(empty.path(), &[])["cuda"]["driver"].is_null() {
        both_say(empty.path(), &[], &["libcuda.so.1: "]);
    }
}

#[test]
fn a_driver_that_does_not_start_says_why() {
    let fake = fake();
    both_say(
        fake.path(),
        &[("FAKE_INIT", "100")],
        &["no GPU: cuInit: CUDA_ERROR_NO_DEVICE (as the driver says it)"],
    );
    both_say(fake.path(), &[("FAKE_INIT", "803")], &["DRIVER_MISMATCH", "restart the machine"]);
    both_say(
        fake.path(),
        &[("FAKE_INIT", "999")],
        &["does not start: cuInit: CUDA error 999: does `nvidia-smi`"],
    );
    both_say(fake.path(), &[("FAKE_VERSION", "12020")], &["supports CUDA 12.2, 12.4 is needed"]);
    both_say(fake.path(), &[("FAKE_DEVICES", "0")], &["no GPU", "CUDA_VISIBLE_DEVICES"]);
    both_say(fake.path(), &[("FAKE_MAJOR", "7")], &["cuda:0 (Fake 40) has compute capability 7.0, 8.0"]);
    let several = open_says(fake.path(), &[("FAKE_DEVICES", "2"), ("INDEX", "2")]);
    assert_eq!(several, "1 no cuda:2: there is cuda:0 (Fake 40), cuda:1 (Fake 41)");
}

#[test]
fn cublaslt_and_kernels_are_missed_too() {
    let fake = fake();
    let state = doctor(fake.path(), &[("FAKE_DEVICES", "2")]);
    let cuda = &state["cuda"];
    assert_eq!(cuda["driver_version"], "13.0");
    assert_eq!(cuda["cublaslt"], "13.0.2 (libcublasLt.so.13)");
    assert_eq!(cuda["gpus"][1]["name"], "Fake 41");
    assert_eq!(state["devices"][2]["name"], "cuda:1");
    assert_eq!(state["devices"][2]["detail"], "Fake 41, compute capability 9.0, 132 SMs, 8.0 GiB");
    let built_with_nvcc = !cuda["toolkit"].is_null();
    if !built_with_nvcc {
        both_say(fake.path(), &[], &["no kernels for GPUs: install nvcc 12.4"]);
    }
    // CUDA 12's driver cannot run cuBLASLt 13.
    let problems = doctor(fake.path(), &[("FAKE_VERSION", "12080")])["cuda"]["problems"].to_string();
    assert!(problems.contains("no cuBLASLt (looked for libcublasLt.so.12, "), "{problems}");
    fs::remove_file(fake.path().join("libcublasLt.so.13")).unwrap();
    let problems = doctor(fake.path(), &[])["cuda"]["problems"].to_string();
    assert!(
        problems.contains("no cuBLASLt") || !doctor(fake.path(), &[])["cuda"]["cublaslt"].is_null(),
        "{problems}"
    );
}

#[test]
fn every_call_against_a_fake_driver() {
    let fake = fake();
    for test in ["device::work", "device::products", "device::bias_gradients", "device::failures"] {
        let out = child(test, fake.path(), &[]);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{test}: {}\n{error}", String::from_utf8_lossy(&out.stdout));
        assert!(error.contains("fake CUDA: all freed"), "{test}: {error}");
    }
}
