//! Addresses of host names that configurations mention.

use std::{
    collections::HashMap,
    net::{IpAddr, ToSocketAddrs as _},
    task::Poll,
    time::Instant,
};

use hopsight_system::{
    foreign::Lane,
    heart::Heart,
    readers::{Answer, Readers},
};

/// Threads that ask the resolver.
const THREADS: usize = 4;
/// Most names that may wait to be resolved; the others are asked for at the next reading.
const MAX_WAITING: usize = 4_096;
/// Most names kept; of more, those that were asked for longest ago go.
const MAX_NAMES: usize = 16_384;

/// Resolves on threads of its own, because a resolver may be silent for many seconds, and in turn for
/// each user, because whoever has a domain decides how long that takes. The resolver is the agent's: a
/// proxy in a container may get other answers.
#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<String, Known>,
    /// Asked for and not answered yet.
    waiting: HashMap<String, Answer<Vec<IpAddr>>>,
    resolvers: Readers,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    answered_at: Instant,
}

impl Names {
    /// Starts the threads; they end with the value this returns, once a look-up in progress is over.
    pub(super) fn start() -> std::io::Result<Self> {
        let resolvers = Readers::start("names", THREADS)?;
        Ok(Self { known: HashMap::new(), waiting: HashMap::new(), resolvers })
    }

    /// The threads' hearts.
    pub(super) fn hearts(&self) -> &[Heart] {
        self.resolvers.hearts()
    }

    /// What is known of a name now.
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.known.get(name).map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// Asks for a name in the configuration of somebody, again if it is known.
    pub(super) fn ask(&mut self, whose: Lane, name: &str) {
        if self.waiting.len() >= MAX_WAITING || self.waiting.contains_key(name) {
            return;
        }
        let asked = name.to_owned();
        let resolve = move || {
            let addresses = (asked.as_str(), 0).to_socket_addrs();
            let addresses = addresses.map(|found| found.map(|address| address.ip()).collect());
            addresses.unwrap_or_default()
        };
        // Too many that wait are those of a resolver that does not answer.
        if let Some(answer) = self.resolvers.ask(whose, resolve) {
            self.waiting.insert(name.to_owned(), answer);
        }
    }

    /// Whether an answer is still to come that would be the first for one of `names`.
    pub(super) fn waits_for<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        let is_first = |name| self.waiting.contains_key(name) && !self.known.contains_key(name);
        !self.waiting.is_empty() && names.any(is_first)
    }

    /// Records the answers that have arrived; says whether they changed something.
    pub(super) fn refresh(&mut self) -> bool {
        let (mut changed, mut answers) = (false, Vec::new());
        self.waiting.retain(|name, answer| match answer.poll() {
            Poll::Pending => true,
            Poll::Ready(addresses) => {
                answers.push((name.clone(), addresses.unwrap_or_default()));
                false
            }
        });
        for (name, addresses) in answers {
            // A resolver that fails for a moment does not make an upstream nameless.
            if addresses.is_empty() {
                continue;
            }
            changed |= self.known.get(&name).is_none_or(|known| known.addresses != addresses);
            if self.known.len() >= MAX_NAMES && !self.known.contains_key(&name) {
                self.forget_oldest();
            }
            self.known.insert(name, Known { addresses, answered_at: Instant::now() });
        }
        changed
    }

    /// Forgets a tenth of what is known.
    fn forget_oldest(&mut self) {
        let mut times: Vec<_> = self.known.values().map(|known| known.answered_at).collect();
        let (_, &mut oldest, _) = times.select_nth_unstable(MAX_NAMES / 10);
        self.known.retain(|_, known| known.answered_at > oldest);
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn answers_come_later() {
        let mut names = Names::start().unwrap();
        assert!(names.addresses("localhost").is_empty());
        names.ask(Lane::User(0), "localhost");
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
