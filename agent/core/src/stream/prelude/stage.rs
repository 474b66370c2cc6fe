//! How far a protocol in the clear has come towards TLS, or a tunnel.

use super::Protocol;

/// What a client said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server greeted, and the client has said nothing that tells.
    Greeted,
    /// It spoke in the clear, and nothing that rules an upgrade out.
    MayUpgrade,
    /// It asked for an upgrade, which was not refused, and said nothing after that.
    Upgrading,
    /// It went on in the clear, or the server declined.
    StaysClear,
    /// It is encrypted in a way of its own, which is not read here.
    Opaque,
    /// Nothing that is known.
    Unrecognised,
}

/// How far a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// The bytes ask for none.
    None,
    /// It was asked for, and is not open (yet).
    Asked(Protocol),
    /// It was refused, and nothing more was said.
    Refused(Protocol),
    /// It is open; what is said through it begins at these places of client and server.
    Open(Protocol, [usize; 2]),
}
