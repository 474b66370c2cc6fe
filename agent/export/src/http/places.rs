//! The places of connections. Who has come last always gets one soon: whoever waits for nothing, or
//! takes too long, gives way, first of the peer with most places.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// A connection that has sent no whole request after so long gives way to others.
const SLOW_REQUEST: Duration = Duration::from_secs(1);
/// An answer that takes so long gives way to others.
const SLOW_ANSWER: Duration = Duration::from_secs(5);
/// No answer takes longer in all, event streams apart.
const LONGEST_ANSWER: Duration = Duration::from_mins(1);
/// Pause between looks at how long somebody takes.
const LOOK: Duration = Duration::from_millis(200);

/// The places there are.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    seats: Mutex<Vec<Arc<Seat>>>,
    left: Notify,
}

/// A place that somebody has, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seat: Arc<Seat>,
    among: Arc<Places>,
}

/// What a connection does in its place.
#[derive(Debug)]
pub(super) struct Seat {
    peer: IpAddr,
    doing: Mutex<(Doing, Instant)>,
    given_away: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Its first request has not arrived as a whole.
    Fresh,
    /// It was answered, and its next request has not arrived.
    Idle,
    /// It is answered.
    Answer,
    /// It listens to events.
    Stream,
}

/// An answer that is being given; over when this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<Seat>);

impl Places {
    /// So many places.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), seats: Mutex::default(), left: Notify::new() })
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address, as soon as there is one.
    pub(super) async fn enter(self: &Arc<Self>, from: IpAddr) -> Place {
        loop {
            if let Some(place) = self.try_enter(from) {
                return place;
            }
            // Nobody gives way yet; in a moment somebody may be slow.
            let _ = tokio::time::timeout(LOOK, self.left.notified()).await;
        }
    }

    fn try_enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let mut seats = self.seats();
        if seats.len() >= self.max {
            let victim = victim(&seats, Instant::now())?;
            seats.swap_remove(victim).given_away.notify_one();
        }
        let seat = Arc::new(Seat {
            peer: peer(from),
            doing: Mutex::new((Doing::Fresh, Instant::now())),
            given_away: Notify::new(),
        });
        seats.push(Arc::clone(&seat));
        Some(Place { seat, among: Arc::clone(self) })
    }
}

/// Who gives way: of the peer with most places who waits for nothing, else who is slow; of these who
/// has been at it for longest.
fn victim(seats: &[Arc<Seat>], now: Instant) -> Option<usize> {
    let mut of: HashMap<IpAddr, usize> = HashMap::new();
    for seat in seats {
        *of.entry(seat.peer).or_default() += 1;
    }
    let gives_way = |(at, seat): (usize, &Arc<Seat>)| {
        let (doing, since) = seat.doing();
        let age = now.saturating_duration_since(since);
        let gives_way = match doing {
            Doing::Fresh => age >= SLOW_REQUEST,
            Doing::Idle => true,
            Doing::Answer => age >= SLOW_ANSWER,
            Doing::Stream => false,
        };
        gives_way.then_some(((of[&seat.peer], doing != Doing::Answer, age), at))
    };
    seats.iter().enumerate().filter_map(gives_way).max().map(|(_, at)| at)
}

/// Addresses that one peer has any number of are one.
fn peer(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits() >> 64 << 64).into(),
    }
}

impl Place {
    /// What the connection does.
    pub(super) const fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Waits until the place is somebody else's, or an answer has taken too long.
    pub(super) async fn given_away(&self) {
        loop {
            let given_away = self.seat.given_away.notified();
            if tokio::time::timeout(LOOK, given_away).await.is_ok() || self.seat.is_overdue() {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.among.seats().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.among.left.notify_one();
    }
}

impl Seat {
    /// An answer is given from here on; `is_stream` says that it has no end.
    pub(super) fn answer(self: &Arc<Self>, is_stream: bool) -> Answering {
        self.set(if is_stream { Doing::Stream } else { Doing::Answer });
        Answering(Arc::clone(self))
    }

    fn set(&self, doing: Doing) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = (doing, Instant::now());
    }

    fn doing(&self) -> (Doing, Instant) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_overdue(&self) -> bool {
        let (doing, since) = self.doing();
        doing == Doing::Answer && since.elapsed() >= LONGEST_ANSWER
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set(Doing::Idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds before which everybody came.
    const NOW: u64 = 3_600;

    fn seat(from: &str, doing: Doing, age: u64, begin: Instant) -> Arc<Seat> {
        Arc::new(Seat {
            peer: peer(from.parse().expect("literal")),
            doing: Mutex::new((doing, begin + Duration::from_secs(NOW - age))),
            given_away: Notify::new(),
        })
    }

    #[test]
    fn who_gives_way() {
        use Doing::{Answer, Fresh, Idle, Stream};
        let begin = Instant::now();
        let now = begin + Duration::from_secs(NOW);
        for (name, seats, expected) in [
            ("nobody", vec![("10.0.0.1", Answer, 1), ("10.0.0.2", Stream, 900)], None),
            (
                "the oldest that waits for nothing",
                vec![("10.0.0.1", Idle, 1), ("10.0.0.2", Idle, 2)],
                Some(1),
            ),
            (
                "nobody who has just come",
                vec![("10.0.0.1", Fresh, 0), ("10.0.0.2", Answer, 1)],
                None,
            ),
            (
                "a request that does not arrive",
                vec![("10.0.0.1", Fresh, 0), ("10.0.0.2", Fresh, 2), ("10.0.0.1", Idle, 0)],
                Some(2),
            ),
            (
                "of the peer with most",
                vec![("10.0.0.1", Idle, 9), ("10.0.0.2", Idle, 1), ("10.0.0.2", Answer, 1)],
                Some(1),
            ),
            (
                "loopback is one peer",
                vec![("10.0.0.1", Idle, 9), ("127.0.0.2", Idle, 1), ("127.0.0.3", Answer, 1)],
                Some(1),
            ),
            (
                "a network of IPv6 is one peer",
                vec![("10.0.0.1", Idle, 9), ("2001:db8::1", Idle, 1), ("2001:db8::2", Answer, 1)],
                Some(1),
            ),
            ("a slow answer", vec![("10.0.0.1", Answer, 6), ("10.0.0.1", Stream, 9)], Some(0)),
            (
                "rather than one who is slow",
                vec![("10.0.0.1", Answer, 9), ("10.0.0.1", Idle, 1)],
                Some(1),
            ),
        ] {
            let seats: Vec<_> =
                seats.into_iter().map(|(from, doing, age)| seat(from, doing, age, begin)).collect();
            assert_eq!(victim(&seats, now), expected, "{name}");
        }
    }
}
