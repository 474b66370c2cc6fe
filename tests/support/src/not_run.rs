use std::{env, fs::OpenOptions, io::Write as _};

/// Names the file to which [`not_run`] adds a line each time; `cargo xtask test` ends with a table
/// of its lines.
pub const LEDGER: &str = "HOPSIGHT_NOT_RUN";

/// What may be left out in continuous integration, and why that is no loss.
const ALLOWED_IN_CI: &[(&str, &str)] = &[
    ("foreign captures", "they are not ours to ship"),
    ("other OpenSSL releases", "building each takes twenty minutes of processor time"),
    ("real API server", "building Kubernetes takes longer than all tests"),
    ("crossplane", "nginx itself is the oracle; this is a second one"),
    ("map_files", "a property of the machine, which containers often lack"),
    ("fixture that nginx here does not know", "Debian's nginx lacks modules and newer directives"),
    ("memory controller", "a property of the machine's cgroup hierarchy"),
    ("Landlock", "a property of the kernel"),
    ("overlay", "a property of the machine, which containers often lack"),
    ("other client stacks", "cargo xtask groups installs them"),
    ("Node with OpenSSL inside", "Debian's Node uses the shared library"),
    ("programs with a TLS library inside", "each test of them alone needs its program"),
    ("recordings of real proxies", "they lie beside the repository"),
];

/// Says that `what` did not run, and why. Whoever looks at the end of `cargo xtask test` sees it.
///
/// # Panics
/// In continuous integration (`CI` set and not `false`), unless `what` is on a short list: there a
/// run that looks whole must be whole.
pub fn not_run(what: &str, why: &str) {
    println!("NOT RUN: {what}: {why}");
    if let Some(ledger) = env::var_os(LEDGER) {
        let file = OpenOptions::new().create(true).append(true).open(&ledger);
        // In one piece: other tests write there, too.
        let line = format!("{what}\t{}\n", why.replace('\n', " "));
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            println!("cannot note that in {}: {error}", ledger.display());
        }
    }
    let ci = env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    let is_allowed = ALLOWED_IN_CI.iter().any(|(allowed, _)| *allowed == what);
    assert!(
        !ci || is_allowed,
        "{what} did not run: {why} (`cargo xtask setup` as root installs what is missing)"
    );
}
