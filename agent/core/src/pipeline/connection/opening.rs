//! What the first bytes are.

use super::{Connection, Phase};
use crate::{
    heard::Place,
    model::{Direction, Reason},
    stream::{
        prelude::{self, Ending, Opening},
        reassembly::{Missing, Stream},
    },
    tls::wire::WireHandshake,
};

/// Bytes of clear text per direction in which an upgrade to TLS is looked for.
const MAX_OPENING: usize = 16 * 1024;

impl Connection {
    /// Looks at the first bytes of both sides until they tell what the connection is.
    pub(super) fn open(&mut self) {
        let [to_server, to_client] = &self.streams;
        let whole =
            |stream: &Stream| matches!(stream.missing(), Missing::NotYet | Missing::Finished);
        let long = |stream: &Stream| stream.ready().len() >= MAX_OPENING;
        let bytes = |stream: &Stream| stream.ready().len().min(MAX_OPENING);
        // What has not become TLS by the end, or in all the time a handshake may take, did not.
        let over = self.over() || self.given_up == Some(Reason::Timeout);
        let complete = whole(to_server) && whole(to_client) && !self.lost;
        let ending = if long(to_server) || long(to_client) || over && complete {
            Ending::Closed
        } else if self.closed.is_some() && complete {
            Ending::SourceEnded
        } else {
            Ending::Open
        };
        let inspect = |ending| {
            let sent = [to_server, to_client].map(|stream| &stream.ready()[..bytes(stream)]);
            prelude::inspect(sent[0], sent[1], ending)
        };
        let mut seen = inspect(ending);
        self.proxy_protocol = seen.proxy_protocol;
        if seen.opening == Opening::Pending {
            seen.opening = self.cut_short(|ending| inspect(ending).opening);
        }
        match seen.opening {
            Opening::Pending => {}
            // Nothing was said.
            Opening::Undecided | Opening::Greeted(_) | Opening::Plaintext(_)
                if to_server.end() == 0 && to_client.end() == 0 => {}
            Opening::Undecided => self.phase = Phase::Undecided,
            Opening::Unfinished(protocol) => self.phase = Phase::Unfinished(protocol),
            Opening::Greeted(protocol) => self.phase = Phase::Greeted(protocol),
            Opening::Plaintext(protocol) => self.phase = Phase::Plaintext(protocol),
            Opening::Opaque(protocol) => self.phase = Phase::Opaque(protocol),
            Opening::Tls(start) => {
                let wire = start.ssl2_hello.map_or_else(WireHandshake::default, |hello| {
                    WireHandshake::after_ssl2_hello(*hello)
                });
                let at = start.at.map(|at| Place::try_from(at).unwrap_or(Place::MAX));
                let mut wire = wire.starting_at(at, std::mem::take(&mut self.heard));
                for direction in [Direction::ToClient, Direction::ToServer] {
                    let stream = &mut self.streams[direction.index()];
                    let bytes = stream.ready().get(start.at[direction.index()]..);
                    wire.push(direction, bytes.unwrap_or_default());
                    stream.consume();
                }
                self.phase = Phase::Tls { wire: Box::new(wire), starttls: start.starttls };
            }
        }
    }

    /// What the bytes say that are there, where no more of them will be seen: clear text is that
    /// wherever it is cut, and what cannot be recognised says more than that there is no more of it.
    fn cut_short(&self, inspect: impl Fn(Ending) -> Opening) -> Opening {
        let is_cut = self.streams.iter().any(|stream| stream.missing() == Missing::Truncated);
        if !is_cut && !self.ended() {
            return Opening::Pending;
        }
        match inspect(Ending::SourceEnded) {
            clear @ Opening::Plaintext(_) => clear,
            _ if is_cut && inspect(Ending::Closed) == Opening::Undecided => Opening::Undecided,
            _ => Opening::Pending,
        }
    }
}
