//! The preflight check on this machine.

use hopsight::preflight::{State, check, is_ready};
use hopsight_capture::{library, loader};

use crate::harness::{options, privileged};

#[test]
fn this_machine_passes() {
    if !privileged("this_machine_passes") {
        return;
    }
    let found = check(&options("nobody-has-this"));
    for requirement in &found {
        println!("{requirement}");
    }
    assert!(is_ready(&found), "{found:?}");
    for name in ["kernel", "cgroup v2", "BPF maps", "egress", "ingress", "sock_ops", "attachment"] {
        let state = found.iter().find(|met| met.name == name).map(|met| met.state);
        assert_eq!(state, Some(State::Ok), "{name}");
    }
    let processes = found.iter().find(|met| met.name == "watched processes").expect("listed");
    assert_eq!(processes.state, State::Degraded, "nobody has that name");
    let json = serde_json::to_value(&found).expect("JSON");
    assert_eq!(json[0]["name"], "kernel");
}

/// Every program in the kernel as it was compiled, and one attached: what a kernel that is locked
/// down takes.
#[test]
fn library_probes_load_without_aya() {
    if privileged("library_probes_load_without_aya") {
        let mut ebpf = loader::open(&options("nobody-has-this").load).expect("open");
        library::rehearse_locked_down(&mut ebpf).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn a_missing_cgroup_says_so() {
    if !privileged("a_missing_cgroup_says_so") {
        return;
    }
    let mut options = options("nobody-has-this");
    options.cgroup = Some("/proc".into());
    let found = check(&options);
    assert!(!is_ready(&found));
    let cgroup = found.iter().find(|met| met.name == "cgroup v2").expect("listed");
    assert!(cgroup.state == State::Missing && cgroup.detail.contains("--cgroup"), "{cgroup}");
}
