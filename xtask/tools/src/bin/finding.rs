//! `finding FILE`: what placement finds in a program, and what finding it cost, as one line: seconds,
//! most bytes of memory, places, name of the library, why not; separated by tabs.

use std::{fs::File, time::Instant};

use anyhow::Context as _;
use hopsight_capture::library::{
    elf::ElfError,
    placement::{Linked, Rustls, survey_with},
};

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("arguments: FILE")?;
    let file = File::open(&path).with_context(|| format!("open {path}"))?;
    let start = Instant::now();
    let survey = survey_with(&file, Rustls::LookedFor);
    let seconds = start.elapsed().as_secs_f64();
    let (stack, places, detail) = match survey.map(|survey| survey.linked) {
        Ok(Linked::Absent) | Err(ElfError::Foreign) => (String::new(), 0, String::new()),
        Ok(Linked::Placed { name, placement }) => (name, placement.points.len(), String::new()),
        Ok(Linked::Unsupported(detail)) => (String::new(), 0, detail),
        Err(error) => (String::new(), 0, error.to_string()),
    };
    println!("{seconds}\t{}\t{places}\t{stack}\t{detail}", peak()?);
    Ok(())
}

/// The most memory that this process had at a time.
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read our own status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    Ok(kib.context("find VmHWM")? * 1024)
}
