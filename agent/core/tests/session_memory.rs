//! What a remembered session takes, counted by the allocator.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering},
    time::Duration,
};

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Security, ServerVerified, SessionName, Timestamp},
    pipeline::{
        carried::{Full, FullHandshakes},
        session::Session,
    },
    report::{CarriedBy, Verdict},
};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

#[expect(unsafe_code, reason = "an allocator has no safe form")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VERDICT: Verdict = Verdict {
    security: Security::Mtls,
    client_auth: ClientAuth::Presented,
    outcome: Outcome::Established,
    evidence: Evidence::Library,
    server_verified: ServerVerified::Yes,
    reason: None,
};

#[test]
fn a_session_takes_128_bytes_at_most() {
    const MAX: u32 = 65_536;
    let mut handshakes = FullHandshakes::new(MAX as usize, Duration::from_hours(1));
    let before = HELD.load(Ordering::Relaxed);
    // Each with a handshake of its own, which is the most there can be; three times as many as are
    // remembered, so that forgetting leaves what it leaves.
    for number in 0..3 * MAX {
        let ticket = SessionName::of(&number.to_be_bytes());
        let session = Session::Named { offered: None, given: [ticket, None] };
        let full = Full {
            verdict: VERDICT,
            at: Timestamp(number.into()),
            process: Some(number),
            by: CarriedBy::Session,
            client_certificate: None,
            server_certificate: None,
        };
        handshakes.learn(session, full, Some(false), None);
    }
    let held = HELD.load(Ordering::Relaxed) - before;
    // Those that nobody has a newer one for have three quarters of the room.
    let remembered = (MAX / 4 * 3).try_into().unwrap_or(isize::MAX);
    let each = held / remembered;
    assert!((40..=128).contains(&each), "{each} bytes");
}
