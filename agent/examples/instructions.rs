//! Runs one case of `benches/cases` so many times, for a tool that counts instructions:
//! `instructions CASE TIMES`. Without arguments it lists the cases.

#[path = "../benches/cases/mod.rs"]
mod cases;
#[path = "recorded/events.rs"]
mod events;
mod recorded;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut cases = cases::all(&recorded::scripts()?);
    let [name, times] = args.as_slice() else {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    };
    let times: u32 = times.parse().context("read TIMES")?;
    let case = cases.iter_mut().find(|case| case.name == name);
    let case = case.with_context(|| format!("no case is called {name}"))?;
    for _ in 0..times {
        (case.run)();
    }
    Ok(())
}
