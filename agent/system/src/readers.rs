//! Threads that read what belongs to other processes. Nobody waits for them.
//!
//! Whoever owns a process decides how long it takes to read: a file may lie on a file system of
//! their own, a configuration may be made to take minutes. So everything of a stranger is read here,
//! one piece of work at a time for each user ([`Lane`]): who is slow holds up themselves. Whoever
//! asks gets an [`Answer`], looks at it now and then, and goes on without it after a while.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    task::Poll,
    thread,
};

use crate::{foreign::Lane, heart::Heart};

/// Pieces of work that may wait in one lane.
const MAX_WAITING: usize = 1_024;
/// Lanes in which work may wait.
const MAX_LANES: usize = 1_024;
/// By how much the threads step back behind the others (`nice(2)`).
const NICENESS: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Dropping this lets those end that have nothing to do, and waits for none.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    hearts: Vec<Heart>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: HashMap<Lane, VecDeque<Job>>,
    /// The lanes in which work waits and none is done, in turn.
    turns: VecDeque<Lane>,
    /// The lanes in which work is done.
    busy: HashSet<Lane>,
    ended: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What somebody asked for and will be told.
#[derive(Debug)]
pub struct Answer<T>(Receiver<T>);

impl<T> Answer<T> {
    /// The answer, once; `None` where there will be none.
    pub fn poll(&self) -> Poll<Option<T>> {
        match self.0.try_recv() {
            Ok(answer) => Poll::Ready(Some(answer)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
        }
    }
}

impl Readers {
    /// Starts so many threads, of this name.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        let mut readers = Self { shared: Arc::default(), hearts: Vec::new() };
        for _ in 0..threads {
            let (shared, heart) = (Arc::clone(&readers.shared), Heart::default());
            readers.hearts.push(heart.clone());
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                // Without it they are as important as the others, and no less right.
                let _ = rustix::process::nice(NICENESS);
                while let Some((lane, job)) = shared.next() {
                    heart.beat();
                    job();
                    heart.rest();
                    shared.done(lane);
                }
            })?;
        }
        Ok(readers)
    }

    /// Has `work` done, after what waits in its lane; `None` where too much does.
    #[must_use]
    pub fn ask<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Answer<T>> {
        let (tell, answer) = sync_channel(1);
        let job = move || {
            // Nobody may be waiting any more.
            let _ = tell.send(work());
        };
        self.shared.submit(lane, Box::new(job)).then_some(Answer(answer))
    }

    /// Whether each thread moves.
    #[must_use]
    pub fn hearts(&self) -> &[Heart] {
        &self.hearts
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let mut work = self.shared.work();
        work.ended = true;
        work.waiting.clear();
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, lane: Lane, job: Job) -> bool {
        let mut work = self.work();
        if work.waiting.len() >= MAX_LANES && !work.waiting.contains_key(&lane) {
            return false;
        }
        let queue = work.waiting.entry(lane).or_default();
        if queue.len() >= MAX_WAITING {
            return false;
        }
        queue.push_back(job);
        let has_turn = queue.len() > 1 || work.busy.contains(&lane);
        if !has_turn {
            work.turns.push_back(lane);
            self.changed.notify_one();
        }
        true
    }

    /// Waits for the next piece of work; `None` at the end.
    fn next(&self) -> Option<(Lane, Job)> {
        let mut work = self.work();
        loop {
            if work.ended {
                return None;
            }
            let Some(lane) = work.turns.pop_front() else {
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(job) = work.waiting.get_mut(&lane).and_then(VecDeque::pop_front) else {
                continue;
            };
            work.busy.insert(lane);
            return Some((lane, job));
        }
    }

    fn done(&self, lane: Lane) {
        let mut work = self.work();
        work.busy.remove(&lane);
        if work.waiting.get(&lane).is_some_and(VecDeque::is_empty) {
            work.waiting.remove(&lane);
        }
        if work.waiting.contains_key(&lane) {
            work.turns.push_back(lane);
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Sender, channel},
        time::{Duration, Instant},
    };

    use super::*;

    const STRANGER: Lane = Lane::User(1_000);
    const NGINX: Lane = Lane::User(0);

    fn wait<T>(answer: &Answer<T>) -> Option<T> {
        let begin = Instant::now();
        loop {
            if let Poll::Ready(answer) = answer.poll() {
                return answer;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "no answer");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Work that does not end before the sender is used or dropped.
    fn endless(readers: &Readers, lane: Lane) -> (Sender<()>, Option<Answer<()>>) {
        let (end, ended) = channel();
        let answer = readers.ask(lane, move || {
            let _ = ended.recv();
        });
        (end, answer)
    }

    #[test]
    fn who_is_slow_holds_up_only_themselves() {
        let readers = Readers::start("test", 2).unwrap();
        let mut slow: Vec<_> = (0..8).map(|_| endless(&readers, STRANGER)).collect();
        for number in 0..3 {
            let answer = readers.ask(NGINX, move || number).unwrap();
            assert_eq!(wait(&answer), Some(number));
        }
        let (end, answer) = slow.remove(0);
        assert!(answer.as_ref().unwrap().poll().is_pending());
        drop(end);
        assert_eq!(wait(answer.as_ref().unwrap()), Some(()));
    }

    #[test]
    fn what_waits_is_bounded() {
        let readers = Readers::start("test", 1).unwrap();
        let (_end, _answer) = endless(&readers, STRANGER);
        let taken = (0..2 * MAX_WAITING).filter_map(|_| readers.ask(STRANGER, || ())).count();
        assert!((MAX_WAITING - 1..=MAX_WAITING).contains(&taken), "{taken}");
        let lanes = (0..).map(Lane::User).take(2 * MAX_LANES);
        let taken = lanes.filter_map(|lane| readers.ask(lane, || ())).count();
        assert!(taken <= MAX_LANES, "{taken}");
    }

    #[test]
    fn a_thread_that_hangs_shows_it_and_nobody_waits_for_it() {
        let readers = Readers::start("test", 2).unwrap();
        let (end, answer) = endless(&readers, STRANGER);
        let is_silent = |heart: &Heart| heart.silent_for() > Duration::from_millis(20);
        let begin = Instant::now();
        while !readers.hearts().iter().any(is_silent) {
            assert!(begin.elapsed() < Duration::from_secs(10), "no thread is silent");
            thread::sleep(Duration::from_millis(1));
        }
        let waiting = readers.ask(STRANGER, || ()).unwrap();
        drop(readers);
        assert_eq!(wait(&waiting), None, "it will not be done");
        drop(end);
        assert_eq!(wait(answer.as_ref().unwrap()), Some(()));
    }
}
