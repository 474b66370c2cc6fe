//! Why the full handshake of a session is not known.

use crate::{
    model::Process,
    pipeline::{bounded::Bounded, owners::Program},
    report::Unseen,
};

/// What was not seen of whom.
#[derive(Debug)]
pub struct Blindness {
    /// Processes of which tickets were lost.
    losing: Bounded<u32, ()>,
    /// Their programs: a session may be another process's of the same.
    lost: Bounded<Program, ()>,
    /// Programs with full handshakes that their library did not show.
    unread: Bounded<Program, ()>,
    /// Of some that lost tickets it was forgotten, to make room.
    has_forgotten: bool,
}

impl Blindness {
    /// Remembers at most `max` of each kind.
    pub fn new(max: usize) -> Self {
        let (losing, lost, unread) = (Bounded::new(max), Bounded::new(max), Bounded::new(max));
        Self { losing, lost, unread, has_forgotten: false }
    }

    /// Another process has this number now.
    pub fn began(&mut self, pid: u32) {
        self.losing.take(&pid);
    }

    /// A ticket of this process was lost.
    pub fn ticket_lost(&mut self, pid: u32) {
        self.has_forgotten |= self.losing.insert(pid, ()).is_some();
    }

    /// This process opens a connection.
    pub fn opens(&mut self, process: &Process) {
        if self.losing.entries.contains_key(&process.pid) {
            self.has_forgotten |= self.lost.insert(Program::of(process), ()).is_some();
        }
    }

    /// Whether tickets of this program were lost, or may have been.
    pub fn has_lost_tickets(&self, process: &Process) -> bool {
        self.has_forgotten || self.lost.entries.contains_key(&Program::of(process))
    }

    /// Whether tickets of a process were lost of which this holds.
    pub fn has_lost_tickets_of(&self, of: impl Fn(u32) -> bool) -> bool {
        self.losing.entries.keys().any(|pid| of(*pid))
    }

    /// The library of this process did not show one of its full handshakes.
    pub fn unread(&mut self, process: &Process) {
        self.unread.insert(Program::of(process), ());
    }

    /// Why it is that a session is not known which this process resumes; all sessions that it may have
    /// were seen to begin if `is_whole`.
    pub fn why(&self, process: &Process, is_whole: bool) -> Unseen {
        if self.has_lost_tickets(process) {
            Unseen::TicketLost
        } else if !is_whole {
            Unseen::OlderProcess
        } else if self.unread.entries.contains_key(&Program::of(process)) {
            Unseen::LibraryUnread
        } else {
            Unseen::Unexplained
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_word() {
        type Steps = fn(&mut Blindness, &dyn Fn(u32) -> Process);
        let nginx = |pid| Process { pid, name: "nginx".into(), cgroup_id: 1 };
        let cases: [(&str, Steps, bool, Unseen); 6] = [
            ("older than the agent", |_, _| {}, false, Unseen::OlderProcess),
            ("nothing is known", |_, _| {}, true, Unseen::Unexplained),
            ("unread", |seen, nginx| seen.unread(&nginx(2)), true, Unseen::LibraryUnread),
            ("older and unread", |seen, nginx| seen.unread(&nginx(2)), false, Unseen::OlderProcess),
            (
                "another worker lost tickets",
                |seen, nginx| {
                    seen.ticket_lost(2);
                    seen.opens(&nginx(2));
                },
                false,
                Unseen::TicketLost,
            ),
            (
                "another process with its number",
                |seen, nginx| {
                    seen.ticket_lost(2);
                    seen.began(2);
                    seen.opens(&nginx(2));
                },
                true,
                Unseen::Unexplained,
            ),
        ];
        for (name, steps, is_whole, expected) in cases {
            let mut blindness = Blindness::new(8);
            steps(&mut blindness, &nginx);
            assert_eq!(blindness.why(&nginx(1), is_whole), expected, "{name}");
        }
    }
}
