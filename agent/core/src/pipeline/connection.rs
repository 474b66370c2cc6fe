//! One observed connection: from its segments to a judgement and a report.

mod certificates;
mod cryptography;
mod judging;
mod opening;
mod report;

use std::{net::SocketAddr, sync::Arc};

use crate::{
    heard::{Heard, Place},
    model::{Beginning, CloseCause, ConnectionId, Direction, Origin, Reason, Timestamp},
    stream::{
        prelude::{self, Opening, Protocol, ProxyVersion},
        reassembly::{DropCounts, Missing, Stream},
    },
    tls::{facts::HandshakeFacts, flights::CertificateFlight, wire::WireHandshake},
};

/// Segments of a connection joined in the middle that are looked at before it stays `unknown`.
const MAX_MID_STREAM_SEGMENTS: u32 = 8;

/// What the connection turned out to be.
#[derive(Debug)]
enum Phase {
    /// The first bytes do not tell yet.
    Opening,
    /// Joined in the middle; this many segments told nothing.
    MidStream { segments: u32 },
    /// TLS.
    Tls { wire: Box<WireHandshake>, starttls: Option<Protocol> },
    /// TLS records of a connection joined in the middle.
    TlsMidStream,
    /// Clear text of this protocol.
    Plaintext(Protocol),
    /// A protocol with an encryption of its own.
    Opaque(Protocol),
    /// An upgrade to TLS, or a tunnel, was asked for in this protocol, and nothing followed.
    Unfinished(Protocol),
    /// The server greeted in this protocol, and the client said nothing.
    Greeted(Protocol),
    /// Neither TLS nor clear text that is recognised.
    Undecided,
}

/// What few connections have.
#[derive(Debug, Default)]
struct Uncommon {
    /// The upstream's address, where service NAT made it another than the destination.
    remote: Option<SocketAddr>,
    /// What its packets are inside of.
    tunnel: Option<Arc<str>>,
}

/// One connection from its opening to its verdict.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    origin: Origin,
    destination: SocketAddr,
    opened_at: Timestamp,
    /// When the newest byte passed that could decide.
    last_at: Timestamp,
    local: Option<SocketAddr>,
    uncommon: Option<Box<Uncommon>>,
    streams: [Stream; 2],
    /// What the server had received when it sent what, until a handshake takes it.
    heard: Heard,
    phase: Phase,
    /// The side that closed or reset the connection first.
    left_first: Option<Direction>,
    proxy_protocol: Option<ProxyVersion>,
    lost: bool,
    closed: Option<CloseCause>,
    given_up: Option<Reason>,
    /// The source was told that no more is wanted: what does not come any more may have been sent.
    released: bool,
}

impl Connection {
    /// A connection of which `limit` bytes per direction are used, and `window` bytes are held
    /// after gaps.
    #[must_use]
    pub fn new(
        id: ConnectionId,
        origin: Origin,
        destination: SocketAddr,
        beginning: Beginning,
        at: Timestamp,
        (limit, window): (u64, usize),
    ) -> Self {
        Self {
            id,
            origin,
            destination,
            opened_at: at,
            last_at: at,
            local: None,
            uncommon: None,
            streams: [Stream::new(limit, window), Stream::new(limit, window)],
            heard: Heard::default(),
            left_first: None,
            phase: match beginning {
                Beginning::Seen => Phase::Opening,
                Beginning::MidStream => Phase::MidStream { segments: 0 },
            },
            proxy_protocol: None,
            lost: false,
            closed: None,
            given_up: None,
            released: false,
        }
    }

    /// The TCP connection is established between these ends.
    pub fn established(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.local = Some(local);
        let remote = (remote != self.destination).then_some(remote);
        if remote.is_some() || self.uncommon.is_some() {
            self.uncommon.get_or_insert_default().remote = remote;
        }
    }

    /// Its packets are inside of this.
    pub fn inside(&mut self, tunnel: Arc<str>) {
        self.uncommon.get_or_insert_default().tunnel = Some(tunnel);
    }

    /// Takes in one segment; see [`Stream::push`]. `acked` is what its sender had received of the
    /// other direction.
    pub fn segment(
        &mut self,
        at: Timestamp,
        direction: Direction,
        (offset, acked): (u32, Option<u32>),
        payload_len: u32,
        bytes: &[u8],
    ) {
        self.last_at = at;
        if let Phase::MidStream { segments } = &mut self.phase {
            *segments += 1;
            match prelude::inspect_mid_stream(bytes) {
                Opening::Tls(_) => self.phase = Phase::TlsMidStream,
                Opening::Plaintext(protocol) => self.phase = Phase::Plaintext(protocol),
                Opening::Opaque(_)
                | Opening::Pending
                | Opening::Unfinished(_)
                | Opening::Greeted(_)
                | Opening::Undecided => {}
            }
            return;
        }
        if direction == Direction::ToClient {
            self.note_heard(offset, acked, bytes.len());
        }
        self.streams[direction.index()].push(offset, payload_len, bytes);
        self.advance();
    }

    /// Notes what the server had received when it sent `length` bytes at `offset`.
    fn note_heard(&mut self, offset: u32, acked: Option<u32>, length: usize) {
        let [to_server, to_client] = &self.streams;
        let acked = acked.and_then(|acked| to_server.position(acked));
        let (Some(acked), Some(at)) = (acked, to_client.position(offset)) else { return };
        let fresh = at.max(to_client.end());
        let ends = at + length as u64;
        if let (Ok(fresh), Ok(acked)) = (Place::try_from(fresh), Place::try_from(acked))
            && u64::from(fresh) < ends
        {
            match &mut self.phase {
                Phase::Tls { wire, .. } => wire.heard(fresh, acked),
                _ => self.heard.note(fresh, acked),
            }
        }
    }

    /// One side sends nothing from `offset` on.
    pub fn fin(&mut self, direction: Direction, offset: u32) {
        self.left_first.get_or_insert(direction);
        self.streams[direction.index()].fin(offset);
        self.advance();
    }

    /// Captured bytes were lost.
    pub fn lost(&mut self) {
        self.lost = true;
        self.streams.iter_mut().for_each(Stream::lost);
    }

    /// The connection ended.
    pub fn close(&mut self, cause: CloseCause) {
        self.closed = Some(cause);
        if let CloseCause::ResetBy(side) = cause {
            self.left_first.get_or_insert(side);
        }
        self.advance();
    }

    /// Nothing more is waited for.
    pub fn give_up(&mut self, reason: Reason) {
        self.given_up = Some(reason);
        self.advance();
    }

    /// No more bytes are wanted. False if that was said before.
    pub const fn release(&mut self) -> bool {
        !std::mem::replace(&mut self.released, true)
    }

    /// The connection is closed, or given up.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.closed.is_some() || self.given_up.is_some()
    }

    /// Whether it may stay silent for as long as it likes: the client has sent what may be its whole
    /// flight of a TLS 1.3 handshake, and nothing has begun that is not over.
    #[must_use]
    pub fn rests(&self) -> bool {
        let Phase::Tls { wire, .. } = &self.phase else { return false };
        let is_open = |stream: &Stream| stream.missing() == Missing::NotYet;
        !self.ended() && !self.lost && self.streams.iter().all(is_open) && wire.rests()
    }

    /// Both sides are through with the connection.
    const fn over(&self) -> bool {
        matches!(self.closed, Some(CloseCause::Closed | CloseCause::ResetBy(_)))
    }

    fn advance(&mut self) {
        if matches!(self.phase, Phase::Opening) {
            self.open();
        }
        // That a side sent nothing more before the end is known only of one that was listened to.
        let closed = self.over() && !self.released;
        let left_first = self.left_first;
        let ended = self.ended();
        if let Phase::Tls { wire, .. } = &mut self.phase {
            // Who left first is told first.
            let leaver = left_first.unwrap_or(Direction::ToClient);
            for direction in [leaver, leaver.reversed()] {
                let stream = &mut self.streams[direction.index()];
                if !stream.ready().is_empty() {
                    wire.push(direction, stream.ready());
                    stream.consume();
                }
                if stream.missing() == Missing::Finished
                    || closed && stream.missing() == Missing::NotYet
                {
                    wire.close(direction);
                }
            }
            if ended {
                wire.finish();
            }
        } else if !matches!(self.phase, Phase::Opening) {
            // Nothing more is read of them; copies are still compared.
            self.streams.iter_mut().for_each(Stream::consume);
        }
    }

    /// When the newest byte passed that could decide.
    #[must_use]
    pub const fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The process that opened it, if one is known.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        match &self.origin {
            Origin::Process(process) => Some(process.pid),
            Origin::PacketCapture => None,
        }
    }

    /// Who opened it.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The upstream's address: as connected to, else as asked for.
    #[must_use]
    pub fn upstream(&self) -> SocketAddr {
        let remote = self.uncommon.as_ref().and_then(|uncommon| uncommon.remote);
        remote.unwrap_or(self.destination)
    }

    /// The proxy's own address, once it is known.
    #[must_use]
    pub const fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The client random of its ClientHello, once it was seen.
    #[must_use]
    pub fn client_random(&self) -> Option<[u8; 32]> {
        self.wire_facts()?.client_hello.as_ref().map(|hello| hello.random)
    }

    /// What its library handshake is found by: process id and client random.
    #[must_use]
    pub fn handshake_key(&self) -> Option<(u32, [u8; 32])> {
        self.pid().zip(self.client_random())
    }

    /// What its handshake said on the wire; `None` where it is not TLS.
    #[must_use]
    pub fn wire_facts(&self) -> Option<&HandshakeFacts> {
        match &self.phase {
            Phase::Tls { wire, .. } => Some(wire.facts()),
            _ => None,
        }
    }

    /// Its client's flight, where that is in one record and lengths are all that is known of it.
    #[must_use]
    pub fn certificate_flight(&self) -> Option<CertificateFlight> {
        match &self.phase {
            Phase::Tls { wire, .. } => wire.flights()?.certificate_flight(),
            _ => None,
        }
    }

    /// The length of the record with the server's first ticket; see [`ticket_record`](crate::tls::flights::Flights::ticket_record).
    #[must_use]
    pub fn ticket_record(&self) -> Option<u16> {
        match &self.phase {
            Phase::Tls { wire, .. } => wire.flights()?.ticket_record(),
            _ => None,
        }
    }

    /// True once any payload byte was seen.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.streams.iter().any(|stream| stream.end() > 0 || stream.missing() != Missing::NotYet)
            || matches!(self.phase, Phase::MidStream { segments: 1.. } | Phase::TlsMidStream)
    }

    /// Heap bytes held for the streams and for what was read of them, about.
    #[must_use]
    pub fn held(&self) -> usize {
        let streams: usize = self.streams.iter().map(Stream::held).sum();
        match &self.phase {
            Phase::Tls { wire, .. } => streams + wire.held(),
            _ => streams,
        }
    }

    /// Bytes that were captured but not used.
    #[must_use]
    pub fn drops(&self) -> DropCounts {
        let mut sum = self.streams[0].drops();
        sum.add(&self.streams[1].drops());
        sum
    }
}
