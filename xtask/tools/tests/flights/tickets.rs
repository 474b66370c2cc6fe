//! What the length of a ticket says, in recorded connections.

use std::collections::{BTreeMap, BTreeSet};

use hopsight_core::tls::ticket_lengths::may_hold;
use hopsight_tools::flights::{Row, Truth};

use super::RECORDINGS;

/// What one kind of server gave and was offered.
#[derive(Debug, Default)]
struct Server {
    /// Lengths of the records with the first tickets, after handshakes with a client certificate and
    /// without.
    mutual: BTreeSet<u16>,
    one_way: BTreeSet<u16>,
    /// Lengths of the identities of sessions that were resumed.
    identities: BTreeSet<u16>,
}

impl Server {
    /// Whether a ticket of these records may be offered as an identity of this length.
    fn fits(records: &BTreeSet<u16>, identity: u16) -> bool {
        records.iter().any(|&record| may_hold(record, identity))
    }
}

fn servers(rows: &[Row]) -> BTreeMap<&str, Server> {
    let mut servers = BTreeMap::<_, Server>::new();
    for row in rows.iter().filter(|row| !row.notes.contains("extpsk")) {
        let Some(flights) = row.classify() else { continue };
        let server = servers.entry(row.server_stack.as_str()).or_default();
        match row.truth {
            Truth::Mtls => server.mutual.extend(flights.ticket_record()),
            Truth::Oneway | Truth::Empty => server.one_way.extend(flights.ticket_record()),
            Truth::Psk => server.identities.extend(row.identity),
            Truth::NoHandshake | Truth::Unlabelled => {}
        }
    }
    servers.retain(|_, server| !server.identities.is_empty());
    servers
}

/// No identity is longer or shorter than the tickets allow that its server gave; and no length alone
/// says that a certificate was presented, for one server's tickets without one are longer than another's
/// with one.
#[test]
fn an_identity_is_as_long_as_a_ticket_of_its_server() {
    for (name, rows) in RECORDINGS.iter() {
        let servers = servers(rows);
        let (mut longest_one_way, mut shortest_mutual) = (None, None);
        for (stack, server) in &servers {
            for &identity in &server.identities {
                let mutual = Server::fits(&server.mutual, identity);
                let one_way = Server::fits(&server.one_way, identity);
                println!("{name} {stack}: {identity}, mutual {mutual}, one-way {one_way}");
                assert!(mutual || one_way, "{name} {stack}: {identity} of none of {server:?}");
                if !mutual {
                    longest_one_way = longest_one_way.max(Some(identity));
                }
                if !one_way {
                    let shortest = shortest_mutual.unwrap_or(identity);
                    shortest_mutual = Some(identity.min(shortest));
                }
            }
        }
        println!("{name}: one-way up to {longest_one_way:?}, mutual from {shortest_mutual:?}");
        assert!(servers.is_empty() || longest_one_way > shortest_mutual, "{name}");
    }
}
