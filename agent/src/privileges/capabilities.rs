//! Capabilities (capabilities(7)) of threads.

use rustix::{
    io,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

use super::{Duty, Needs};

/// From this Linux on a map can be used by whoever has its descriptor; before, every `bpf(2)` call
/// needs CAP_BPF where `kernel.unprivileged_bpf_disabled` is set.
pub(super) const MAPS_BY_FD: (u32, u32) = (5, 19);

/// What a duty needs once the kernel programs are loaded and attached.
pub(super) fn needed(duty: Duty, needs: &Needs, maps_need_capability: bool) -> CapabilitySet {
    let mut set = CapabilitySet::empty();
    // Descriptors of processes that are another user's.
    let foreign_descriptors = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    match duty {
        Duty::Capture if needs.adopt => set |= foreign_descriptors,
        Duty::Probe => {
            if needs.library {
                // To find libraries; to read those of other users.
                set |= CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
                // For probes that are attached alone; else to open a mapped file that has no name any
                // more (`/proc/PID/map_files`), which the former includes.
                set |= if needs.probes_alone {
                    CapabilitySet::SYS_ADMIN
                } else {
                    CapabilitySet::CHECKPOINT_RESTORE
                };
            }
            if needs.adopt {
                // Of what runs already; later it is the capture's.
                set |= foreign_descriptors;
            }
        }
        Duty::Inspect => set |= CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH,
        Duty::Capture | Duty::Send | Duty::Write | Duty::Serve => {}
    }
    if maps_need_capability
        && matches!(duty, Duty::Capture | Duty::Probe | Duty::Send | Duty::Serve)
    {
        set |= CapabilitySet::BPF;
    }
    set
}

/// The same, by what there is: CAP_SYS_ADMIN includes CAP_CHECKPOINT_RESTORE, where that was not given by
/// itself.
pub(super) fn at_hand(wanted: CapabilitySet, permitted: CapabilitySet) -> CapabilitySet {
    let missing = wanted - permitted;
    if missing.contains(CapabilitySet::CHECKPOINT_RESTORE) {
        (wanted - CapabilitySet::CHECKPOINT_RESTORE) | CapabilitySet::SYS_ADMIN
    } else {
        wanted
    }
}

/// What the calling thread may have.
pub(super) fn permitted() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.permitted)
}

/// Takes everything but `wanted` from the calling thread; it gets nothing that it did not have.
pub(super) fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & wanted;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
}

/// No program that this process could start gets a capability. Takes CAP_SETPCAP.
pub(super) fn empty_bounding_set() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // Beyond the last one this kernel knows.
            Err(_) => break,
        }
    }
    Ok(())
}

/// As one writes them, such as `CAP_BPF`.
pub(super) fn names(set: CapabilitySet) -> String {
    let names: Vec<_> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_has_what_it_needs_and_no_more() {
        let nothing = Needs::default();
        let adopt = Needs { adopt: true, ..Needs::default() };
        let library = Needs { library: true, ..Needs::default() };
        let alone = Needs { probes_alone: true, ..library.clone() };
        for (duty, needs, old_kernel, expected) in [
            (Duty::Capture, &nothing, false, "none"),
            (Duty::Capture, &nothing, true, "CAP_BPF"),
            (Duty::Capture, &adopt, false, "CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE"),
            (Duty::Capture, &library, false, "none"),
            (Duty::Probe, &nothing, false, "none"),
            (Duty::Probe, &adopt, false, "CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE"),
            (Duty::Probe, &alone, false, "CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN"),
            (
                Duty::Probe,
                &library,
                false,
                "CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE",
            ),
            (Duty::Inspect, &library, true, "CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE"),
            (Duty::Write, &library, true, "none"),
            (Duty::Send, &library, false, "none"),
            (Duty::Serve, &library, false, "none"),
            (Duty::Serve, &nothing, true, "CAP_BPF"),
        ] {
            assert_eq!(names(needed(duty, needs, old_kernel)), expected, "{duty:?} {needs:?}");
        }
    }

    #[test]
    fn what_was_not_given_by_itself_is_had_by_what_includes_it() {
        use CapabilitySet as C;
        let wanted = C::SYS_PTRACE | C::CHECKPOINT_RESTORE;
        for (name, permitted, expected) in [
            ("all", C::all(), wanted),
            ("none by itself", C::SYS_PTRACE | C::SYS_ADMIN, C::SYS_PTRACE | C::SYS_ADMIN),
            ("no other", C::CHECKPOINT_RESTORE, wanted),
        ] {
            assert_eq!(at_hand(wanted, permitted), expected, "{name}");
        }
        assert_eq!(at_hand(C::SYS_PTRACE, C::SYS_ADMIN), C::SYS_PTRACE);
    }
}
