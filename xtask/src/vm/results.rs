//! What the console of a boot says.

use std::collections::{BTreeMap, BTreeSet};

/// Printed around each part by the image's `init`.
pub const MARK: &str = "hopsight-vm:";

/// The part in which a machine says where it hangs.
pub const HUNG: &str = "hung";

/// Whether the tests of a boot stopped saying anything.
pub fn is_hung(console: &str) -> bool {
    console.contains(&format!("{MARK} {HUNG}"))
}

/// Results of one boot.
#[derive(Debug, Default)]
pub struct Results {
    /// `ok`, `FAILED`, `ignored` or `skipped`, by binary and test.
    pub tests: BTreeMap<String, &'static str>,
    /// Lines of `hopsight check`.
    pub checks: Vec<String>,
    /// Everything ran to its end.
    pub complete: bool,
}

impl Results {
    /// Tests with this result.
    pub fn count(&self, result: &str) -> usize {
        self.tests.values().filter(|word| **word == result).count()
    }
}

/// Reads a console.
pub fn parse(console: &str) -> Results {
    let mut results = Results::default();
    let mut part = "";
    for line in console.lines().map(str::trim_end) {
        // What hangs has not ended its line.
        if let Some((_, next)) = line.split_once(MARK) {
            part = next.trim();
            results.complete |= part == "done";
            continue;
        }
        match part {
            "" | "done" | HUNG => {}
            "check" => results.checks.push(line.to_owned()),
            binary => {
                if let Some((name, word)) = outcome(line) {
                    results.tests.insert(format!("{binary}::{name}"), word);
                } else if let Some(name) = skipped(line) {
                    let found = results.tests.iter_mut().find(|(test, _)| test.ends_with(name));
                    if let Some((_, word)) = found {
                        *word = "skipped";
                    }
                }
            }
        }
    }
    results
}

/// `test NAME ... ok`, as libtest prints it.
fn outcome(line: &str) -> Option<(&str, &'static str)> {
    let (name, word) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let word = ["ok", "FAILED", "ignored"].into_iter().find(|known| word.starts_with(known))?;
    Some((name, word))
}

/// `NOT RUN: NAME: why`, as the tests themselves print it.
fn skipped(line: &str) -> Option<&str> {
    line.strip_prefix("NOT RUN: ")?.split_once(':').map(|(name, _)| name)
}

/// Tests down, kernels across.
pub fn print_table(columns: &[(&str, Results)]) {
    let tests: BTreeSet<&str> =
        columns.iter().flat_map(|(_, results)| results.tests.keys().map(String::as_str)).collect();
    let width = tests.iter().map(|test| test.len()).max().unwrap_or(0);
    print!("{:width$}", "TEST");
    for (name, _) in columns {
        print!("  {name}");
    }
    println!();
    for test in tests {
        print!("{test:width$}");
        for (name, results) in columns {
            let word = results.tests.get(test).copied().unwrap_or("-");
            print!("  {word:<width$}", width = name.len());
        }
        println!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_read() {
        let console = "[    0.1] Linux version\r\nhopsight-vm: check\r\nok  kernel  5.10\r\n\
            hopsight-vm: kernel_live\r\ntest a::one ... ok\r\ntest a::two ... FAILED\r\n\
            test a::three ... ok\r\nNOT RUN: three: needs ip\r\nhopsight-vm: done\r\n";
        let results = parse(console);
        assert!(results.complete);
        assert_eq!(results.checks, ["ok  kernel  5.10"]);
        let words: Vec<(&str, &str)> =
            results.tests.iter().map(|(name, word)| (name.as_str(), *word)).collect();
        assert_eq!(
            words,
            [
                ("kernel_live::a::one", "ok"),
                ("kernel_live::a::three", "skipped"),
                ("kernel_live::a::two", "FAILED"),
            ]
        );
    }

    #[test]
    fn a_console_that_breaks_off_is_not_complete() {
        let console = "hopsight-vm: kernel_live\ntest a ... hopsight-vm: hung\n/proc/1\n";
        let results = parse(console);
        assert!(is_hung(console) && !results.complete);
        assert!(results.tests.is_empty());
    }
}
