//! What nobody can say of sessions whose beginning was not seen, and what decides it.

use std::collections::BTreeMap;

use hopsight_core::report::Unseen;
use hopsight_export::time;
use hopsight_posture::hops::{labels::printable, table::Snapshot};

/// Longest name of a proxy, and longest command, in bytes.
const MAX_TEXT: usize = 256;

/// What is known of one proxy's that were not seen for one reason.
struct Sessions<'s> {
    hops: usize,
    connections: u64,
    before: f64,
    decided_by: &'s str,
}

/// A line for each proxy that goes on with such sessions, and each reason.
pub fn notes(snapshot: &Snapshot) -> Vec<String> {
    let mut by_proxy: BTreeMap<(&str, Unseen), Sessions<'_>> = BTreeMap::new();
    for hop in &snapshot.hops {
        let Some(older) = &hop.older_sessions else { continue };
        let sessions = by_proxy.entry((&hop.proxy, older.unseen)).or_insert(Sessions {
            hops: 0,
            connections: 0,
            before: older.before,
            decided_by: &older.decided_by,
        });
        sessions.hops += 1;
        sessions.connections += older.connections;
        sessions.before = sessions.before.max(older.before);
    }
    let plain = |text: &str| printable(text, MAX_TEXT).into_owned();
    let line = |((proxy, unseen), sessions): ((&str, Unseen), Sessions<'_>)| {
        let Sessions { hops, connections, before, decided_by } = sessions;
        let hops = if hops == 1 { "1 hop".to_owned() } else { format!("{hops} hops") };
        let why = match unseen {
            Unseen::OlderProcess => "nobody saw them begin",
            Unseen::LibraryUnread => "its TLS library was not read when they began",
            Unseen::TicketLost => "their tickets were lost on the way to the agent",
            Unseen::Unexplained => "no handshake is known that began them",
        };
        format!(
            "note: {} resumes sessions from before {} on {hops} ({connections} connections): {why}, and they \
             do not end by themselves. This decides it: {}",
            plain(proxy),
            time::minute(before),
            plain(decided_by),
        )
    };
    by_proxy.into_iter().map(line).collect()
}
