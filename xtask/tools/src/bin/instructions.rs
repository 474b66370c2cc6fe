//! Runs one case of [`cases`] so many times, for a tool that counts instructions:
//! `instructions CASE TIMES`. Without arguments it lists the cases.

use anyhow::Context as _;
use hopsight_tools::cases;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = args.as_slice() else {
        for (name, _) in cases::ALL {
            println!("{name}");
        }
        return Ok(());
    };
    let times: u32 = times.parse().context("read TIMES")?;
    let case = cases::ALL.iter().find(|(case, _)| case == name);
    let (_, prepare) = case.with_context(|| format!("no case is called {name}"))?;
    let mut run = prepare();
    for _ in 0..times {
        run();
    }
    Ok(())
}
