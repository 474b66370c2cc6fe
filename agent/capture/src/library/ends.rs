//! Processes whose files are probed, and the moment at which each ends.
//!
//! The kernel puts the instructions that probes replaced back into whatever is at their places when the
//! file is run again, also if it was written anew in the meantime: probes go when the last process of
//! their file has ended, and a scan every few seconds would be late.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tracing::debug;

/// Most processes that are followed, a descriptor each. The end of others is found by the scan.
const MOST: usize = 256;

/// Stands for the end of the waiting itself; no process has this id.
const OVER: u64 = 0;

/// The processes that are followed.
#[derive(Default)]
pub struct Ends {
    /// Where their ends are waited for, once anybody waits.
    epoll: Option<Arc<OwnedFd>>,
    followed: HashMap<u32, OwnedFd>,
}

impl Ends {
    /// Starts a thread that calls `ended` with the id of each process that was followed and ended, as
    /// long as the answer lives.
    ///
    /// # Errors
    /// There can be no further thread or descriptor.
    pub fn wait(&mut self, ended: impl Fn(u32) + Send + 'static) -> anyhow::Result<Waiter> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("create an epoll")?;
        let over = eventfd(0, EventfdFlags::CLOEXEC).context("create an eventfd")?;
        let data = epoll::EventData::new_u64(OVER);
        epoll::add(&epoll, &over, data, epoll::EventFlags::IN).context("wait for an eventfd")?;
        let epoll = Arc::new(epoll);
        self.epoll = Some(Arc::clone(&epoll));
        let thread = thread::Builder::new()
            .name("ends".to_owned())
            .spawn(move || serve(&epoll, &ended))
            .context("start the thread that waits for processes to end")?;
        Ok(Waiter { over, thread: Some(thread) })
    }

    /// Follows a process until it ends, if it is not followed yet or was another of this id.
    pub fn follow(&mut self, pid: u32, is_new: bool) {
        let Some(epoll) = &self.epoll else { return };
        let is_followed = self.followed.contains_key(&pid);
        if (is_followed && !is_new) || self.followed.len() >= MOST {
            return;
        }
        let follow = || -> Result<OwnedFd, Errno> {
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            let process = pidfd_open(id, PidfdFlags::empty())?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
            epoll::add(epoll, &process, epoll::EventData::new_u64(pid.into()), flags)?;
            Ok(process)
        };
        match follow() {
            Ok(process) => drop(self.followed.insert(pid, process)),
            // The scan finds out.
            Err(error) => debug!(pid, %error, "cannot wait for the end of a process"),
        }
    }

    /// Follows a process no longer.
    pub fn forget(&mut self, pid: u32) {
        self.followed.remove(&pid);
    }
}

fn serve(epoll: &OwnedFd, ended: &impl Fn(u32)) {
    let mut events = Vec::with_capacity(64);
    loop {
        match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                debug!(%error, "cannot wait for processes to end");
                return;
            }
        }
        for event in events.drain(..) {
            match event.data.u64() {
                OVER => return,
                pid => ended(u32::try_from(pid).unwrap_or_default()),
            }
        }
    }
}

/// The thread that waits. Dropping it ends the thread.
pub struct Waiter {
    over: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A counter that is 0 has room.
        let _ = rustix::io::write(&self.over, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; a panic was printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        sync::mpsc,
        time::Duration,
    };

    use super::*;

    #[test]
    fn the_end_of_a_process_is_told_at_once_and_only_once() {
        let (sender, ended) = mpsc::channel();
        let mut ends = Ends::default();
        let waiter = ends.wait(move |pid| sender.send(pid).unwrap()).unwrap();
        let start = || Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut processes = [start(), start()];
        for process in &processes {
            ends.follow(process.id(), true);
            ends.follow(process.id(), false);
        }
        for process in &mut processes {
            assert!(ended.try_recv().is_err());
            process.kill().unwrap();
            assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(process.id()));
            process.wait().unwrap();
        }
        drop(waiter);
        assert_eq!(ended.recv(), Err(mpsc::RecvError), "the thread has ended");
    }
}
