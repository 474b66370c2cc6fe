//! A process is watched by the name of the program it runs, whatever its threads are called.
//!
//! The kernel names a task after the file it executes, and new threads and processes after the task
//! that makes them (`begin_new_exec`, `copy_process`). So whoever has another name, as the workers
//! of Envoy, Node and Varnish and the kernel's own io_uring workers, has given up the first one: at
//! that moment the whole process is noted, before it can connect under the new name.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};

use hopsight_abi::config_flags;

use crate::{
    connect::current_comm,
    library,
    maps::{EXECUTED, FORKED, NAMES, OPENERS, PROCESSES, config},
};

/// `BPF_ANY`.
const ANY: u64 = 0;

/// A task takes another name (`__set_task_comm`, which tells of it before it changes the name).
#[raw_tracepoint(tracepoint = "task_rename")]
pub fn task_rename(_ctx: RawTracePointContext) -> i32 {
    if let Some(comm) = current_comm()
        && NAMES.get_ptr(comm).is_some()
    {
        // A full map is the agent's to find: its own look at the processes comes every few seconds.
        let _ = PROCESSES.insert(current_process(), comm, ANY);
    }
    0
}

/// A process runs another program, and has its name by now (`exec_binprm`).
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(_ctx: RawTracePointContext) -> i32 {
    let Some(comm) = current_comm() else { return 0 };
    let process = current_process();
    let is_named = NAMES.get_ptr(comm).is_some();
    if is_named || config().flags & config_flags::WATCH_ALL != 0 {
        // SAFETY: reads a clock.
        let _ = EXECUTED.insert(process, unsafe { bpf_ktime_get_ns() }, ANY);
    }
    if is_named {
        // As above.
        let _ = PROCESSES.insert(process, comm, ANY);
        library::started(process);
    } else {
        // It may never have been there.
        let _ = PROCESSES.remove(process);
    }
    0
}

/// A process makes another one, or a thread (`kernel_clone`): it runs here itself.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: reads a clock.
    let _ = FORKED.insert(current_process(), unsafe { bpf_ktime_get_ns() }, ANY);
    0
}

/// A main thread ends. Others of its process may go on: whether they do is the agent's to find.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    let process = current_process();
    if bpf_get_current_pid_tgid() as u32 != process {
        return 0;
    }
    if let Some(ended) = OPENERS.get_ptr_mut(process) {
        // SAFETY: map look-ups return valid, aligned pointers; the agent reads the value whole. The clock
        // is only read.
        unsafe {
            // Once: another process may have its number by now.
            if ended.read_volatile() == 0 {
                ended.write_volatile(bpf_ktime_get_ns());
            }
        }
    }
    0
}

#[inline(always)]
fn current_process() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
