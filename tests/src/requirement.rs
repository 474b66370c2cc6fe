//! What a live test needs of the machine, and how it is skipped where that is missing.

use hopsight_test_support::not_run;

use crate::{
    caddy,
    case::{Case, Proxy},
    envoy,
    process::find,
};

/// Whether the test can run. If not, says so.
///
/// # Panics
/// As [`not_run`].
#[must_use]
pub fn met(test: &str, programs: &[&str]) -> bool {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("needs root".to_owned());
    }
    for program in programs.iter().chain(&["setpriv"]) {
        if find(program).is_none() {
            missing.push(format!("{program} is not installed"));
        }
    }
    if !missing.is_empty() {
        not_run(test, &missing.join("; "));
    }
    missing.is_empty()
}

/// The cases whose proxies are installed; says which are left out.
///
/// # Panics
/// As [`met`].
#[must_use]
pub fn runnable(cases: &[Case]) -> Vec<Case> {
    let installed = |case: &&Case| match case.proxy {
        Proxy::Envoy => envoy::binary().is_some(),
        Proxy::Caddy => std::env::var_os(caddy::VARIABLE).is_some() || find("caddy").is_some(),
        _ => true,
    };
    let (runnable, missing): (Vec<Case>, Vec<Case>) = cases.iter().partition(installed);
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|case| case.name).collect();
        not_run(&names.join(", "), "Envoy or Caddy is not installed");
    }
    runnable
}
