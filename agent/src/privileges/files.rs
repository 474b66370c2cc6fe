//! Landlock (landlock(7), Linux 5.13): what a thread may do with files and the network.

use std::path::Path;

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};

/// The newest kind of rules that is asked for; older kernels enforce what they know of it.
const ASKED: ABI = ABI::V6;

/// Takes from the calling thread every access to files but reading below `readable` and opening files
/// for writing below `writable`, every new listening socket, every outgoing TCP connection, and
/// signals to others. What is open stays usable. Returns whether the kernel enforces any of it.
pub(super) fn confine(readable: &[&Path], writable: &[&Path]) -> anyhow::Result<bool> {
    let write = AccessFs::WriteFile | AccessFs::MakeReg;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ASKED))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ASKED)))
        .and_then(|rules| rules.scope(Scope::from_all(ASKED)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(readable, AccessFs::from_read(ASKED))))
        .and_then(|rules| rules.add_rules(path_beneath_rules(writable, write)))
        .and_then(RulesetCreated::restrict_self)
        .context("restrict this thread")?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Whether this kernel has Landlock, and it is switched on.
#[must_use]
pub fn is_supported() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}
