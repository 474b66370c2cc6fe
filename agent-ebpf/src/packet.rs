//! Where a TCP segment's payload is.

use aya_ebpf::programs::SkBuffContext;
use hopsight_abi::Bytes16;

const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_DSTOPTS: u8 = 60;
/// Extension headers that are skipped before giving up.
const MAX_EXTENSIONS: usize = 4;

/// The part of a TCP segment's header that is needed.
pub struct TcpSegment {
    /// Sequence number of the first byte (of the SYN, where there is one).
    pub sequence: u32,
    /// The byte that its sender expects next.
    pub acknowledgment: u32,
    /// Connection starts.
    pub syn: bool,
    /// This side will send no more.
    pub fin: bool,
    /// This side resets the connection.
    pub rst: bool,
    /// Where in the packet the payload starts.
    pub payload_at: u32,
    /// Length of the payload.
    pub payload_len: u32,
}

/// Reads the headers. cgroup programs see packets from the IP header on. The length is the
/// packet's: merged segments (GSO, BIG TCP) have none in their IP header.
///
/// `None`: not TCP, or the headers are not readable.
#[inline(always)]
pub fn parse(ctx: &SkBuffContext) -> Option<TcpSegment> {
    let ip = ctx.load::<[u8; 20]>(0).ok()?;
    let tcp_at = match ip[0] >> 4 {
        4 if ip[9] == IPPROTO_TCP => usize::from(ip[0] & 0x0f) << 2,
        6 => after_ipv6_headers(ctx, ip[6])?,
        _ => return None,
    };
    let tcp = ctx.load::<[u8; 14]>(tcp_at).ok()?;
    let payload_at = (tcp_at as u32).wrapping_add(u32::from(tcp[12] >> 4) << 2);
    let flags = tcp[13];
    Some(TcpSegment {
        sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        acknowledgment: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
        syn: flags & 0x02 != 0,
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
        payload_at,
        payload_len: ctx.len().saturating_sub(payload_at),
    })
}

/// Offset of the TCP header after the IPv6 header and extension headers (RFC 8200 section 4).
#[inline(always)]
fn after_ipv6_headers(ctx: &SkBuffContext, first: u8) -> Option<usize> {
    let mut next = first;
    let mut at = 40usize;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            IPPROTO_TCP => return Some(at),
            IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_DSTOPTS => {
                let [following, len] = ctx.load::<[u8; 2]>(at).ok()?;
                next = following;
                at = at.wrapping_add(usize::from(len).wrapping_add(1) << 3);
            }
            _ => return None,
        }
    }
    None
}

/// An IPv4 address in network byte order as IPv4-mapped IPv6 address.
#[inline(always)]
pub fn ipv4_mapped(address: u32) -> Bytes16 {
    Bytes16::from_words([0, in_memory(0xffff_u32.to_be(), address)])
}

/// The bytes of an IPv6 address in a context, which may only be read in words of 32 bits.
#[inline(always)]
pub fn ipv6(words: *const [u32; 4]) -> Bytes16 {
    let words = words.cast::<u32>();
    // SAFETY: the caller points at a field of its context; volatile keeps the width.
    unsafe {
        let start = in_memory(words.read_volatile(), words.add(1).read_volatile());
        let end = in_memory(words.add(2).read_volatile(), words.add(3).read_volatile());
        Bytes16::from_words([start, end])
    }
}

/// The word whose memory is that of `first`, then that of `second`.
#[inline(always)]
fn in_memory(first: u32, second: u32) -> u64 {
    let (low, high) =
        if cfg!(target_endian = "little") { (first, second) } else { (second, first) };
    u64::from(low) | u64::from(high) << 32
}
