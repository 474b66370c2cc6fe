//! What was run, how long it took, and whether it passed.

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How many run at once.
const AT_ONCE: usize = 2;

/// What has run, for the summary.
#[derive(Default)]
pub struct Steps {
    done: Vec<(String, bool, Duration)>,
}

impl Steps {
    /// Runs a step; a failing one does not stop the others.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<()>) -> bool {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        self.done.push((name.to_owned(), result.is_ok(), start.elapsed()));
        result.is_ok()
    }

    /// Runs commands, some at once, in this order; what one prints is printed whole when it has ended.
    pub fn run_beside_each_other(&mut self, commands: Vec<(String, Command)>) {
        let waiting = Mutex::new(commands.into_iter());
        let done = Mutex::new(&mut self.done);
        let work = || {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((name, mut command)) = next else { return };
                let start = Instant::now();
                let output = command.stdin(Stdio::null()).output();
                let time = start.elapsed();
                // Held, so that nothing is printed in between.
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                println!("== {name}");
                let is_ok = match output {
                    Ok(output) => {
                        print!("{}", String::from_utf8_lossy(&output.stdout));
                        eprint!("{}", String::from_utf8_lossy(&output.stderr));
                        output.status.success()
                    }
                    Err(error) => {
                        eprintln!("{name}: start: {error}");
                        false
                    }
                };
                done.push((name, is_ok, time));
            }
        };
        thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    }

    /// Prints every step.
    ///
    /// # Errors
    /// When one has failed.
    pub fn summary(self) -> anyhow::Result<()> {
        println!("== summary");
        for (name, ok, time) in &self.done {
            println!("{:4}  {:6.1} s  {name}", if *ok { "ok" } else { "FAIL" }, time.as_secs_f64());
        }
        let failed = self.done.iter().filter(|(_, ok, _)| !ok).count();
        anyhow::ensure!(failed == 0, "{failed} of {} steps failed", self.done.len());
        Ok(())
    }
}
