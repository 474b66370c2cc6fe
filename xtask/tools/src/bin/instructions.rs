//! Runs one case of [`cases`] so many times, for a tool that counts the instructions of
//! [`measured`]: `instructions CASE TIMES`. Without arguments it lists the cases.

use anyhow::Context as _;
use hopsight_tools::cases;

/// Runs before those that are counted.
const WARM_UP: u32 = 4;

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
    // The first runs fill what later ones find filled.
    for _ in 0..WARM_UP {
        run();
    }
    measured(&mut *run, times);
    Ok(())
}

/// What is counted: neither the start of the program nor what a case prepares, which differs by the
/// seeds of its maps.
#[inline(never)]
fn measured(run: &mut dyn FnMut(), times: u32) {
    for _ in 0..times {
        run();
    }
}
