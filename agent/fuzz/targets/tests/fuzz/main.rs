//! The fuzz targets on stable: every seed as it is, and mutations of the seeds.
//!
//! cargo-fuzz runs the same functions with coverage for as long as one likes (`cargo xtask fuzz`);
//! this keeps them honest in every test run. `HOPSIGHT_FUZZ_SEEDS` names a folder to write the
//! seeds to, for cargo-fuzz; `HOPSIGHT_FUZZ_ROUNDS` sets the mutations per target.

mod mutation;
mod seeds;

use std::{env, fs, panic, path::Path};

use hopsight_fuzz_targets::TARGETS;
use mutation::Mutator;

/// Mutations per target, unless told otherwise: a few seconds in a debug build.
const ROUNDS: u64 = 1_500;

fn rounds() -> u64 {
    env::var("HOPSIGHT_FUZZ_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"))
}

#[test]
fn every_target_stands_its_seeds_and_their_mutations() {
    let folder = env::var_os("HOPSIGHT_FUZZ_SEEDS");
    for (name, target) in TARGETS {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        if let Some(folder) = &folder {
            write(&Path::new(folder).join(name), &seeds);
        }
        let mut mutator = Mutator::new(name.len() as u64 + 1);
        let mutated = (0..rounds()).map(|_| mutator.mutate(&seeds));
        for input in seeds.iter().cloned().chain(mutated) {
            if panic::catch_unwind(|| target(&input)).is_err() {
                let file = env::temp_dir().join(format!("hopsight-fuzz-{name}"));
                fs::write(&file, &input).expect("write the input");
                panic!("{name} does not stand the input in {}", file.display());
            }
        }
    }
}

#[test]
fn inputs_that_once_failed_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../regressions");
    for entry in fs::read_dir(folder).expect("inputs that once failed") {
        let entry = entry.expect("entry").file_name();
        let target = entry.to_str().expect("the name of a target");
        assert!(TARGETS.iter().any(|(name, _)| *name == target), "{target} is no target");
        assert!(!seeds::regressions(target).is_empty(), "{target} has none");
    }
}

fn write(folder: &Path, seeds: &[Vec<u8>]) {
    fs::create_dir_all(folder).expect("create the folder of the seeds");
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("{index:04}")), seed).expect("write a seed");
    }
}
