//! A TCP of our own between a proxy and its upstream: the bytes are the upstream's, how they are
//! put into segments, and what is forged beside them, is up to a [`Mangle`].

use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use etherparse::{PacketBuilder, PacketHeaders, TcpHeader, TcpOptionElement, TransportHeader};

use crate::{
    mangle::{FORGED_HELLO, Mangle, ONE_BY_ONE},
    tun::Tun,
};

/// Unacknowledged bytes at most; the kernel's window is larger.
const IN_FLIGHT: usize = 16 * 1024;
/// `TCP_MIN_SND_MSS` of net/tcp.h.
const SMALLEST: u16 = 48;
const RETRANSMIT: Duration = Duration::from_millis(300);
const ISN: u32 = 0xffff_f000;

struct Connection {
    upstream: TcpStream,
    client_port: u16,
    port: u16,
    /// The next byte of the client.
    receive_next: u32,
    /// Everything the upstream said.
    stream: Vec<u8>,
    sent: usize,
    acknowledged: usize,
    to_upstream: Vec<u8>,
    /// Bytes that came since the upstream last spoke.
    flight: usize,
    client_ended: bool,
    ended: bool,
    fin_sent: bool,
    last_sent: Instant,
}

/// The relay runs until it is dropped.
pub struct Relay {
    stop: Arc<AtomicBool>,
    single_bytes: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Relays connections to these ports of the interface's far address to these upstreams.
    pub fn start(tun: Tun, mangle: Mangle, upstreams: HashMap<u16, SocketAddr>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let single_bytes = Arc::<AtomicUsize>::default();
        let worker = Worker {
            tun,
            mangle,
            upstreams,
            connections: HashMap::new(),
            single_bytes: Arc::clone(&single_bytes),
        };
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || worker.run(&stop)
        });
        Self { stop, single_bytes, thread: Some(thread) }
    }

    /// Segments of one byte that the proxies sent so far.
    pub fn single_bytes(&self) -> usize {
        self.single_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(ended || thread::panicking(), "the relay panicked");
    }
}

struct Worker {
    tun: Tun,
    mangle: Mangle,
    upstreams: HashMap<u16, SocketAddr>,
    connections: HashMap<(u16, u16), Connection>,
    single_bytes: Arc<AtomicUsize>,
}

impl Worker {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.tun.wait();
            while let Some(packet) = self.tun.receive() {
                self.packet(&packet);
            }
            let keys: Vec<_> = self.connections.keys().copied().collect();
            for key in keys {
                self.advance(key);
            }
        }
    }

    fn packet(&mut self, packet: &[u8]) {
        let Ok(headers) = PacketHeaders::from_ip_slice(packet) else { return };
        let Some(TransportHeader::Tcp(tcp)) = &headers.transport else { return };
        let key = (tcp.source_port, tcp.destination_port);
        if tcp.syn {
            self.open(key, tcp);
            return;
        }
        if tcp.rst {
            self.connections.remove(&key);
            return;
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let acknowledged = tcp.acknowledgment_number.wrapping_sub(ISN.wrapping_add(1));
        let acknowledged = usize::try_from(acknowledged).unwrap_or(usize::MAX);
        if acknowledged <= connection.stream.len() + 1 {
            let data = acknowledged.min(connection.stream.len());
            connection.acknowledged = connection.acknowledged.max(data);
        }
        let payload = headers.payload.slice();
        let fresh = tcp.sequence_number == connection.receive_next;
        if fresh {
            connection.flight += payload.len();
            self.single_bytes.fetch_add(usize::from(payload.len() == 1), Ordering::Relaxed);
            connection.to_upstream.extend_from_slice(payload);
            let length = u32::try_from(payload.len()).expect("one packet");
            connection.receive_next = connection.receive_next.wrapping_add(length);
            if tcp.fin && !connection.client_ended {
                connection.client_ended = true;
                connection.receive_next = connection.receive_next.wrapping_add(1);
            }
        }
        if !payload.is_empty() || tcp.fin {
            self.send(key, None, &[], |_| {});
        }
    }

    fn open(&mut self, key: (u16, u16), tcp: &TcpHeader) {
        let Some(upstream) = self.upstreams.get(&key.1) else { return };
        let upstream = TcpStream::connect(upstream).expect("connect to the upstream");
        upstream.set_nonblocking(true).expect("do not wait for the upstream");
        let connection = Connection {
            upstream,
            client_port: key.0,
            port: key.1,
            receive_next: tcp.sequence_number.wrapping_add(1),
            stream: Vec::new(),
            sent: 0,
            acknowledged: 0,
            to_upstream: Vec::new(),
            flight: 0,
            client_ended: false,
            ended: false,
            fin_sent: false,
            last_sent: Instant::now(),
        };
        self.connections.insert(key, connection);
        let sequence = ISN;
        self.send_at(key, sequence, &[], |tcp| tcp.syn = true);
    }

    /// Sends `payload` as if it stood at `at` in the stream (`None`: at what was sent last).
    fn send(
        &mut self,
        key: (u16, u16),
        at: Option<usize>,
        payload: &[u8],
        change: impl FnOnce(&mut TcpHeader),
    ) {
        let Some(connection) = self.connections.get(&key) else { return };
        let at = at.unwrap_or(connection.sent + usize::from(connection.fin_sent));
        let at = u32::try_from(at).expect("a short stream");
        self.send_at(key, ISN.wrapping_add(1).wrapping_add(at), payload, change);
    }

    fn send_at(
        &mut self,
        key: (u16, u16),
        sequence: u32,
        payload: &[u8],
        change: impl FnOnce(&mut TcpHeader),
    ) {
        let Some(connection) = self.connections.get(&key) else { return };
        let smallest = self.mangle == Mangle::SmallestWindow;
        let window = match self.mangle {
            Mangle::SmallestWindow => SMALLEST,
            Mangle::OneByteWindow if connection.flight < ONE_BY_ONE => 1,
            _ => 60_000,
        };
        let mut tcp = TcpHeader::new(connection.port, connection.client_port, sequence, window);
        tcp.ack = true;
        tcp.acknowledgment_number = connection.receive_next;
        change(&mut tcp);
        if smallest && tcp.syn {
            let option = TcpOptionElement::MaximumSegmentSize(SMALLEST);
            tcp.set_options(&[option]).expect("one option");
        }
        // A forged checksum survives: the builder sets the right one, `urgent_pointer` marks it.
        let forged = std::mem::take(&mut tcp.urgent_pointer) != 0;
        let mut packet = Vec::new();
        PacketBuilder::ipv4(self.tun.far.octets(), self.tun.near.octets(), 64)
            .tcp_header(tcp)
            .write(&mut packet, payload)
            .expect("a packet");
        if forged {
            packet[20 + 16] ^= 0x5a;
        }
        self.tun.send(&packet);
    }

    fn advance(&mut self, key: (u16, u16)) {
        let mangle = self.mangle;
        let Some(connection) = self.connections.get_mut(&key) else { return };
        connection.forward(mangle);
        if connection.sent < connection.stream.len()
            && connection.sent - connection.acknowledged < IN_FLIGHT
        {
            let end = connection.stream.len().min(connection.acknowledged + IN_FLIGHT);
            let range = connection.sent..end;
            connection.sent = end;
            connection.flight = 0;
            connection.last_sent = Instant::now();
            self.emit(key, range);
        } else if connection.acknowledged < connection.sent
            && connection.last_sent.elapsed() > RETRANSMIT
        {
            let range = connection.acknowledged..connection.sent;
            connection.last_sent = Instant::now();
            self.pieces(key, &cut(range, 1400));
        } else if connection.ended
            && !connection.fin_sent
            && connection.acknowledged == connection.stream.len()
        {
            let at = connection.stream.len();
            self.send(key, Some(at), &[], |tcp| tcp.fin = true);
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.fin_sent = true;
            }
        }
    }

    fn pieces(&mut self, key: (u16, u16), ranges: &[Range<usize>]) {
        for range in ranges {
            let Some(connection) = self.connections.get(&key) else { return };
            let bytes = connection.stream[range.clone()].to_vec();
            self.send(key, Some(range.start), &bytes, |tcp| tcp.psh = true);
        }
    }

    /// Sends these bytes of the stream for the first time.
    fn emit(&mut self, key: (u16, u16), range: Range<usize>) {
        let first = range.start == 0;
        match self.mangle {
            Mangle::Plain | Mangle::SmallestWindow | Mangle::WarningAlert => {
                self.pieces(key, &cut(range, 1400));
            }
            // Only a segment further on than the last one makes a window smaller.
            Mangle::OneByteWindow => {
                let (first, rest) = (range.start..range.start + 1, range.start + 1..range.end);
                self.pieces(key, &[first]);
                self.pieces(key, &cut(rest, 1400));
            }
            Mangle::ByByte => self.pieces(key, &cut(range, 1)),
            Mangle::Backwards => {
                let mut ranges = cut(range, 150);
                ranges.reverse();
                self.pieces(key, &ranges);
            }
            Mangle::Overlapping => {
                let start = range.start;
                let ranges: Vec<_> = cut(range, 200)
                    .into_iter()
                    .map(|piece| piece.start.saturating_sub(100).max(start)..piece.end)
                    .collect();
                self.pieces(key, &ranges);
            }
            mangle => {
                if first && mangle == Mangle::ForgedHello {
                    let forged = [FORGED_HELLO, &[0; 30]].concat();
                    self.send(key, Some(0), &forged, |tcp| tcp.urgent_pointer = 1);
                }
                for piece in cut(range, 1000) {
                    self.forge(key, &piece);
                    self.pieces(key, &[piece]);
                }
            }
        }
    }

    fn forge(&mut self, key: (u16, u16), piece: &Range<usize>) {
        let Some(connection) = self.connections.get(&key) else { return };
        let mut forged: Vec<u8> =
            connection.stream[piece.clone()].iter().map(|byte| byte ^ 0xff).collect();
        // Short packets have their checksum verified before anybody sees them.
        forged.resize(forged.len().max(100), 0xee);
        let length = piece.len();
        match self.mangle {
            Mangle::BeyondTheWindow => {
                self.send(key, Some(piece.start + 1_000_000), &forged, |_| {});
            }
            Mangle::ResetBeyondTheWindow => {
                self.send(key, Some(piece.start + 1_000_000), &[], |tcp| tcp.rst = true);
            }
            Mangle::WrongChecksum => {
                self.send(key, Some(piece.start), &forged, |tcp| tcp.urgent_pointer = 1);
            }
            Mangle::AheadOfAGap if length > 1 => {
                self.send(key, Some(piece.start + 1), &forged[1..length], |_| {});
            }
            Mangle::WrongEnd => self.send(key, Some(piece.start), &[], |tcp| {
                tcp.fin = true;
                tcp.acknowledgment_number = tcp.acknowledgment_number.wrapping_add(1 << 24);
            }),
            _ => {}
        }
    }
}

impl Connection {
    /// Moves bytes to and from the upstream.
    fn forward(&mut self, mangle: Mangle) {
        while !self.to_upstream.is_empty() {
            match self.upstream.write(&self.to_upstream) {
                Ok(written) => drop(self.to_upstream.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.to_upstream.clear(),
            }
        }
        if self.client_ended {
            // It may have closed already.
            let _ = self.upstream.shutdown(std::net::Shutdown::Write);
        }
        let mut buffer = [0; 16_384];
        while !self.ended {
            match self.upstream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    if self.stream.is_empty() && mangle == Mangle::WarningAlert {
                        // warning, unrecognized_name
                        self.stream.extend([21, 3, 3, 0, 2, 1, 112]);
                    }
                    self.stream.extend_from_slice(&buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true,
            }
        }
    }
}

/// Cuts a range into pieces of this size.
fn cut(range: Range<usize>, size: usize) -> Vec<Range<usize>> {
    range.clone().step_by(size).map(|start| start..(start + size).min(range.end)).collect()
}
