use super::*;
use crate::model::Event;

const MTLS13: &str = include_str!("../../../../fixtures/handshakes/mtls13.jsonl");
const SECOND: u64 = 1_000_000_000;
const MAX: usize = 4 * SMALLEST_SHARE;

/// A ClientHello that a process hands to its library, with this number as its context, its SSL object
/// and its random.
fn hello(pid: u32, number: u64, at: u64) -> LibraryEvent {
    let recorded = MTLS13.lines().find_map(|line| match serde_json::from_str(line).unwrap() {
        Event::Library(event) => Some(event),
        _ => None,
    });
    let mut event = recorded.unwrap();
    (event.pid, event.ssl, event.at) = (pid, number, Timestamp(at * SECOND));
    let LibraryObservation::TranscriptUpdate { context, bytes, .. } = &mut event.observation else {
        panic!("{event:?}");
    };
    *context = number;
    // RFC 8446 section 4.1.2: after type, length and version.
    bytes[6..14].copy_from_slice(&number.to_be_bytes());
    event
}

fn store() -> Transcripts {
    Transcripts::new(TranscriptLimits { max: MAX, max_age_ns: 30 * SECOND })
}

fn random_of(event: &LibraryEvent) -> [u8; 32] {
    store().observe(event).unwrap().1
}

impl Transcripts {
    /// Everything that is kept, in entries.
    fn size(&self) -> usize {
        let queued: usize = self.of_process.values().map(VecDeque::len).sum();
        let random: usize = self.by_random.values().map(Vec::len).sum();
        let most = queued.max(random).max(self.by_id.len()).max(self.newest.len());
        most.max(self.context_of.len()).max(self.pending_verification.len())
    }
}

#[test]
fn one_that_is_in_use_does_not_keep_the_others() {
    let mut store = store();
    let used = hello(1, 999, 0);
    store.observe(&used);
    for number in 1..MAX as u64 / 8 {
        store.observe(&hello(1, number, 1));
    }
    for at in [20, 40, 60] {
        let observation = LibraryObservation::VerifyResult { error: 0, enforced: false };
        store.observe(&LibraryEvent { observation, at: Timestamp(at * SECOND), ..used.clone() });
        store.expire(Timestamp(at * SECOND));
    }
    assert_eq!(store.size(), 1, "{:?}", store.of_process);
    let random = random_of(&used);
    assert!(store.find(1, &random, None).is_some());
    store.expire(Timestamp(121 * SECOND));
    assert_eq!(store.size(), 1, "its connection goes on: {:?}", store.of_process);
    store.release(1, &random);
    store.expire(Timestamp(152 * SECOND));
    assert_eq!(store.size(), 0, "{:?}", store.of_process);
}

#[test]
fn a_load_of_handshakes_keeps_what_it_made_in_half_a_minute() {
    let mut store = store();
    for second in 0..600 {
        let observed = store.observe(&hello(1, second, second));
        assert!(observed.is_some());
        store.expire(Timestamp(second * SECOND));
        assert!(store.size() <= 31, "{} after {second} s", store.size());
    }
}

#[test]
fn whoever_makes_handshakes_without_end_presses_out_their_own() {
    let mut store = store();
    let nginx = hello(1, 999, 0);
    store.observe(&nginx);
    for number in 1..10 * MAX as u64 {
        store.observe(&hello(2, number, 0));
    }
    assert!(store.find(1, &random_of(&nginx), None).is_some());
    assert_eq!(store.size(), SMALLEST_SHARE + 1);
    for number in 1..10 * MAX as u64 {
        // One context, and another object each time.
        let mut event = hello(3, number, 0);
        if let LibraryObservation::TranscriptUpdate { context, .. } = &mut event.observation {
            *context = 7;
        }
        store.observe(&event);
    }
    for pid in 4..100 {
        for number in 1..MAX as u64 / 8 {
            store.observe(&hello(pid, number, 0));
        }
    }
    assert!(store.find(1, &random_of(&nginx), None).is_some(), "those with most give way");
    assert!(store.size() <= MAX, "{}", store.size());
}
