//! Memory per connection, and time per event beside so many connections.

use std::time::Instant;

use hopsight_core::{
    model::{Direction, Timestamp},
    pipeline::{Limits, Pipeline, Update},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use hopsight_tools::recorded::{Script, events::connection, script, scripts};

use crate::{
    resident::resident,
    traffic::{BATCH_NS, Traffic, setting},
};

/// Connections whose events are timed.
const TIMED: usize = 40_000;
/// How many of them at a time.
const AT_ONCE: usize = 100;
/// Upstreams.
const HOPS: usize = 1000;

/// How far the connections that fill the table have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Connected; neither side has spoken.
    Silent,
    /// The ClientHello was sent.
    ClientHello,
    /// Both hellos have passed, but not what decides.
    Hellos,
    /// Everything was said, and what remains is what the agent keeps of a decided connection.
    Decided,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Silent, Self::ClientHello, Self::Hellos, Self::Decided];

    fn script(self, mut script: Script) -> Script {
        let first_of = |direction| script.said.iter().position(|(from, _)| *from == direction);
        let (client, server) = (first_of(Direction::ToServer), first_of(Direction::ToClient));
        match (self, client, server) {
            (Self::ClientHello, Some(client), _) => script.said.truncate(client + 1),
            (Self::Hellos, Some(client), Some(server)) => {
                script.said.truncate(client.max(server) + 1);
                // Type, length, then the ServerHello's record alone: what follows it may decide.
                if let Some((Direction::ToClient, bytes)) = script.said.last_mut() {
                    let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
                    bytes.truncate(5 + length);
                }
            }
            (Self::Silent, ..) => script.said.clear(),
            _ => {}
        }
        script
    }
}

/// Fills a table with `connections` connections in this state.
pub fn measure(state: State, connections: usize) -> anyhow::Result<Value> {
    let scripts = scripts()?;
    let script = state.script(script("mtls13")?);
    let captured: usize = script.said.iter().map(|(_, bytes)| bytes.len()).sum();
    let limits = Limits {
        max_connections: connections + 2 * AT_ONCE,
        max_stream_bytes: usize::MAX,
        ..Limits::default()
    };
    let mut pipeline = Pipeline::new(limits);
    let mut updates = Vec::new();
    let before = resident("VmRSS")?;
    let start = Timestamp(1_000_000_000);
    for number in 0..connections {
        let mut events = connection(&script, &setting(number as u64, start, number % HOPS));
        if state != State::Decided {
            events.truncate(events.len() - 1);
        }
        for event in events {
            pipeline.handle(event, &mut updates);
        }
        updates.clear();
    }
    let tracked = pipeline.tracked();
    let filled = resident("VmRSS")?;
    if state != State::Decided {
        anyhow::ensure!(
            tracked == connections,
            "{tracked} of {connections} connections are tracked"
        );
    }

    let mut traffic = Traffic::new(scripts, HOPS, connections as u64);
    let mut now = start;
    let mut seconds = 0.0;
    let mut handled = 0;
    let mut reports = 0;
    let mut events = Vec::new();
    for _ in 0..TIMED / AT_ONCE {
        now.0 += BATCH_NS;
        traffic.batch(now, AT_ONCE, &mut events);
        handled += events.len();
        let begun = Instant::now();
        for event in events.drain(..) {
            pipeline.handle(event, &mut updates);
        }
        pipeline.tick(now, &mut updates);
        seconds += begun.elapsed().as_secs_f64();
        reports += updates.drain(..).filter(is_final).count();
    }
    anyhow::ensure!(reports == TIMED, "{reports} final reports of {TIMED} connections");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(json!({
        "state": state,
        "connections": connections,
        "tracked": tracked,
        "bytes_per_connection": filled.saturating_sub(before) as f64 / connections as f64,
        "captured_bytes_per_connection": if tracked == 0 { 0 } else { captured },
        "ns_per_event": seconds * 1e9 / handled as f64,
        "handshakes_per_second": TIMED as f64 / seconds,
    }))
}

fn is_final(update: &Update) -> bool {
    matches!(update, Update::Report { report, .. } if report.is_final)
}
