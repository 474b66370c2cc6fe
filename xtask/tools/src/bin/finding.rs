//! `finding FILE`: what placement finds in a program, and what finding it cost, as one line with
//! tabs: milliseconds of processor time, most bytes of memory, places, name of the library, why not.

use std::fs::File;

use anyhow::Context as _;
use hopsight_capture::library::{
    elf::ElfError,
    placement::{Linked, Rustls, survey_with},
};
use rustix::time::{ClockId, clock_gettime};

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("arguments: FILE")?;
    let file = File::open(&path).with_context(|| format!("open {path}"))?;
    let survey = survey_with(&file, Rustls::LookedFor);
    // Of the one thread that there is: the machine may do much else.
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let milliseconds = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    let (stack, places, detail) = match survey.map(|survey| survey.linked) {
        Ok(Linked::Absent) | Err(ElfError::Foreign) => (String::new(), 0, String::new()),
        Ok(Linked::Placed { name, placement }) => (name, placement.points.len(), String::new()),
        Ok(Linked::Unsupported(detail)) => (String::new(), 0, detail),
        Err(error) => (String::new(), 0, error.to_string()),
    };
    println!("{milliseconds}\t{}\t{places}\t{stack}\t{detail}", peak()?);
    Ok(())
}

/// The most memory that this process had at a time.
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read our own status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    Ok(kib.context("find VmHWM")? * 1024)
}
