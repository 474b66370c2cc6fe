//! System calls that the agent never makes, refused by seccomp(2).
//!
//! It is a list of what is refused, not of what is allowed: the C library, the async runtime and
//! the kernel's BPF interface decide what is called, and a call that a newer one makes must not
//! stop an agent. What the list takes away is what an intruder would do with the agent's
//! capabilities.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::Needs;

/// Refused with EPERM whatever the arguments.
const NEVER: &[i64] = &[
    // Other programs, and the memory of others.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_pidfd_send_signal,
    // Kernel code.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    // What is where: mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    // Files past their directories: with CAP_DAC_READ_SEARCH a way out of any mount namespace.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mknodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    // Everything that happens to files of others.
    libc::SYS_fanotify_init,
    // Other identities.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    // Much code in the kernel that nothing here uses.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_personality,
];

/// Commands of bpf(2) (`enum bpf_cmd`, linux/bpf.h) that make or find objects: after the start only
/// those are used whose descriptors are there.
const BPF_COMMANDS: &[u64] = &[
    0, // BPF_MAP_CREATE
    BPF_PROG_LOAD,
    6,  // BPF_OBJ_PIN
    7,  // BPF_OBJ_GET
    8,  // BPF_PROG_ATTACH
    9,  // BPF_PROG_DETACH
    10, // BPF_PROG_TEST_RUN
    13, // BPF_PROG_GET_FD_BY_ID
    14, // BPF_MAP_GET_FD_BY_ID
    17, // BPF_RAW_TRACEPOINT_OPEN
    18, // BPF_BTF_LOAD
    19, // BPF_BTF_GET_FD_BY_ID
    BPF_LINK_CREATE,
    29, // BPF_LINK_UPDATE
    30, // BPF_LINK_GET_FD_BY_ID
    33, // BPF_ITER_CREATE
    34, // BPF_LINK_DETACH
    35, // BPF_PROG_BIND_MAP
    36, // BPF_TOKEN_CREATE
];

/// Loads a kernel program.
const BPF_PROG_LOAD: u64 = 5;

/// Attaches one.
const BPF_LINK_CREATE: u64 = 28;

/// Added to the number of a call it is the same call for programs with 32-bit pointers
/// (`__X32_SYSCALL_BIT` of asm/unistd.h), which a kernel may still answer.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// Families of sockets that are used: local, IPv4, IPv6, and netlink by the C library's resolver.
const SOCKET_FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Refuses them to this thread and those it starts; returns how many.
pub(super) fn refuse(needs: &Needs) -> anyhow::Result<usize> {
    let rules = rules(needs).context("compile the system call filter")?;
    let count = rules.len();
    apply(rules)?;
    Ok(count)
}

/// Refuses what attaches probes to this thread and those it starts: it is for one thread only.
pub(super) fn refuse_probing() -> anyhow::Result<()> {
    let commands = [BPF_PROG_LOAD, BPF_LINK_CREATE].into_iter().map(is_command);
    let commands = commands.collect::<Result<_, _>>().context("compile the system call filter")?;
    apply(Rules::from([(libc::SYS_bpf, commands)]))
}

fn apply(rules: Rules) -> anyhow::Result<()> {
    let arch = std::env::consts::ARCH.try_into().context("filter system calls of this machine")?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules = by_every_number(rules);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch)
        .context("compile the system call filter")?;
    let program: seccompiler::BpfProgram =
        filter.try_into().context("compile the system call filter")?;
    seccompiler::apply_filter(&program).context("load the system call filter")
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(needs: &Needs) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    if !needs.probes_alone {
        rules.insert(libc::SYS_perf_event_open, Vec::new());
    }
    if !needs.adopt {
        rules.insert(libc::SYS_pidfd_getfd, Vec::new());
    }
    let is_needed = |command| match command {
        BPF_PROG_LOAD => needs.probes_alone,
        BPF_LINK_CREATE => needs.library,
        _ => false,
    };
    let commands = BPF_COMMANDS.iter().copied().filter(|command| !is_needed(*command));
    rules.insert(libc::SYS_bpf, commands.map(is_command).collect::<Result<_, _>>()?);
    let is_foreign = SOCKET_FAMILIES
        .iter()
        .map(|family| first_argument(SeccompCmpOp::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(is_foreign)?]);
    Ok(rules)
}

fn is_command(command: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![first_argument(SeccompCmpOp::Eq, command)?])
}

/// The rules for each call by all the numbers that it has.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "there is one"))]
fn by_every_number(mut rules: Rules) -> Rules {
    #[cfg(target_arch = "x86_64")]
    {
        let same: Vec<_> = rules.iter().map(|(call, rule)| (call | X32, rule.clone())).collect();
        rules.extend(same);
    }
    rules
}

fn first_argument(
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_needed_is_not_refused() {
        let library = Needs { library: true, ..Needs::default() };
        for (needs, perf, getfd, commands) in [
            (Needs::default(), true, true, BPF_COMMANDS.len()),
            (library.clone(), true, true, BPF_COMMANDS.len() - 1),
            (Needs { probes_alone: true, ..library }, false, true, BPF_COMMANDS.len() - 2),
            (Needs { adopt: true, ..Needs::default() }, true, false, BPF_COMMANDS.len()),
        ] {
            let rules = rules(&needs).expect("valid");
            assert_eq!(rules.contains_key(&libc::SYS_perf_event_open), perf, "{needs:?}");
            assert_eq!(rules.contains_key(&libc::SYS_pidfd_getfd), getfd, "{needs:?}");
            assert_eq!(rules[&libc::SYS_bpf].len(), commands, "{needs:?}");
            let numbers = if cfg!(target_arch = "x86_64") { 2 } else { 1 };
            assert_eq!(by_every_number(rules.clone()).len(), numbers * rules.len());
        }
    }
}
