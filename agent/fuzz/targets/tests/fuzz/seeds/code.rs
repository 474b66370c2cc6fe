//! Recordings as the target `pipeline` reads them.

use hopsight_core::model::{CloseCause, ConnectionId, Direction, Event, LibraryObservation};
use hopsight_fuzz_targets::events::Code;

use super::short;

/// The byte code of a recording.
pub fn of(events: &[Event]) -> Vec<u8> {
    let mut connections: Vec<ConnectionId> = Vec::new();
    let mut code = Vec::new();
    for event in events {
        let slot = |connection: &ConnectionId, connections: &[ConnectionId]| {
            u8::try_from(connections.iter().position(|known| known == connection).unwrap_or(0) % 4)
                .expect("below four")
        };
        let side = |direction: &Direction| if *direction == Direction::ToServer { 0 } else { 4 };
        let first = |code: Code, low: u8| (code as u8) << 4 | low;
        match event {
            Event::Opened { connection, .. } => {
                connections.push(*connection);
                code.push(first(Code::Open, slot(connection, &connections)));
            }
            Event::Established { connection, .. } => {
                code.push(first(Code::Established, slot(connection, &connections)));
            }
            Event::Segment { connection, direction, bytes, .. } => {
                for piece in bytes.chunks(usize::from(u16::MAX)) {
                    code.push(first(
                        Code::Segment,
                        slot(connection, &connections) | side(direction),
                    ));
                    code.extend(short(piece.len()));
                    code.extend(piece);
                }
            }
            Event::Fin { connection, direction, .. } => {
                code.push(first(Code::Fin, slot(connection, &connections) | side(direction)));
            }
            Event::Closed { connection, cause: CloseCause::Closed, .. } => {
                code.push(first(Code::Close, slot(connection, &connections)));
            }
            Event::Lost { connection, .. } => {
                code.push(first(Code::Lost, slot(connection, &connections)));
            }
            Event::Library(event) => {
                if let LibraryObservation::TranscriptUpdate { bytes, .. } = &event.observation {
                    // The first connection's process.
                    code.extend([first(Code::Library, 0), 0, 0]);
                    code.extend(short(bytes.len()));
                    code.extend(bytes);
                }
            }
            Event::Inside { .. } | Event::Closed { .. } | Event::Began { .. } => {}
        }
    }
    code.extend([(Code::Tick as u8) << 4, 40]);
    code
}
