//! Addresses of host names that configurations mention.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, ToSocketAddrs as _},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// Most names that may wait to be resolved; the others are asked for at the next reading.
const QUEUE: usize = 1_024;
/// Most names kept.
const MAX_NAMES: usize = 16_384;

/// Resolves on a thread of its own, because a resolver may be silent for many seconds. The resolver
/// is the agent's: a proxy in a container may get other answers.
#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<String, Vec<IpAddr>>,
    /// Asked for and not answered yet.
    waiting: HashSet<String>,
    questions: SyncSender<String>,
    answers: Receiver<(String, Vec<IpAddr>)>,
}

impl Names {
    /// Starts the thread; it ends with the value this returns, once a look-up in progress is over.
    pub(super) fn start() -> std::io::Result<Self> {
        let (questions, asked) = sync_channel::<String>(QUEUE);
        let (told, answers) = sync_channel(QUEUE);
        thread::Builder::new().name("names".to_owned()).spawn(move || {
            for name in asked {
                let addresses = (name.as_str(), 0).to_socket_addrs();
                let addresses = addresses
                    .map(|found| found.map(|address| address.ip()).collect())
                    .unwrap_or_default();
                if told.send((name, addresses)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { known: HashMap::new(), waiting: HashSet::new(), questions, answers })
    }

    /// What is known of a name now.
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.known.get(name).cloned().unwrap_or_default()
    }

    /// Asks for a name, again if it is known.
    pub(super) fn ask(&mut self, name: &str) {
        // A full queue is that of a resolver that does not answer.
        if self.questions.try_send(name.to_owned()).is_ok() {
            self.waiting.insert(name.to_owned());
        }
    }

    /// Whether an answer is still to come that would be the first for one of `names`.
    pub(super) fn waits_for<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        !self.waiting.is_empty()
            && names.any(|name| self.waiting.contains(name) && !self.known.contains_key(name))
    }

    /// Records the answers that have arrived; says whether they changed something.
    pub(super) fn refresh(&mut self) -> bool {
        let mut changed = false;
        while let Ok((name, addresses)) = self.answers.try_recv() {
            self.waiting.remove(&name);
            if self.known.len() >= MAX_NAMES && !self.known.contains_key(&name) {
                continue;
            }
            // A resolver that fails for a moment does not make an upstream nameless.
            if !addresses.is_empty() && self.known.get(&name) != Some(&addresses) {
                self.known.insert(name, addresses);
                changed = true;
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn answers_come_later() {
        let mut names = Names::start().unwrap();
        assert!(names.addresses("localhost").is_empty());
        names.ask("localhost");
        assert!(names.waits_for(["localhost"].into_iter()));
        let begin = Instant::now();
        while !names.refresh() {
            assert!(begin.elapsed() < Duration::from_secs(10), "no answer");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!names.waits_for(["localhost"].into_iter()));
        assert!(names.addresses("localhost").iter().all(IpAddr::is_loopback));
    }
}
