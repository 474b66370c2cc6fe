//! The session that a connection begins or resumes.

use std::{net::SocketAddr, sync::Arc};

use super::{
    connection::Connection,
    owners::{Owner, Owners},
};
use crate::{
    model::{Origin, SessionName},
    tls::session::Identity,
};

/// Whose session, with whom, under which server name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// The client.
    pub owner: Owner,
    /// The upstream.
    pub upstream: SocketAddr,
    /// SNI; `None` where the client sent none.
    pub server_name: Option<Arc<str>>,
}

/// Whose sessions one client may take for another.
///
/// A TLS 1.3 session is bound to neither name nor address: nginx keeps one for each address of an
/// upstream, whatever `proxy_ssl_name` says, others keep one for each name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionScope {
    /// All with one upstream.
    Upstream(Owner, SocketAddr),
    /// All under one server name.
    Name(Owner, Arc<str>),
    /// All whose handshakes came before the library showed any ticket of the program.
    Unshown(Owner),
}

impl SessionKey {
    /// Where another session may be that is offered in place of this one.
    pub fn scopes(&self) -> impl Iterator<Item = SessionScope> {
        let by_name = self.server_name.clone().map(|name| SessionScope::Name(self.owner, name));
        [SessionScope::Upstream(self.owner, self.upstream)].into_iter().chain(by_name)
    }

    /// The same, and where it is as well if no library showed a ticket of its owner yet, whose sessions
    /// were all seen to begin.
    pub fn scopes_if(&self, is_shown: bool) -> impl Iterator<Item = SessionScope> {
        let is_known = !is_shown && self.owner.is_whole();
        let unshown = is_known.then_some(SessionScope::Unshown(self.owner));
        self.scopes().chain(unshown)
    }
}

/// What a TLS 1.3 handshake rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Certificates: the server selected no pre-shared key, whatever was offered.
    Certificates,
    /// A key that a session left behind.
    Session,
    /// A key that may be one that no session made.
    ExternalKey,
    /// Any of these: the ServerHello was not seen.
    Unseen,
}

/// The session that a connection begins or resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// Up to TLS 1.2.
    Named {
        /// What the client offers to resume.
        offered: Option<SessionName>,
        /// The ticket and the identifier that it gets.
        given: [Option<SessionName>; 2],
    },
    /// TLS 1.3, or not known yet: begun, it has no name on the wire; resumed, it is known by the ticket
    /// that the server took up.
    Unnamed {
        /// Whose it is.
        key: SessionKey,
        /// What the handshake rests on.
        basis: Basis,
        /// The ticket that the server took up.
        taken: Option<Identity>,
        /// The length of the record with the ticket that the client gets; `None` where it was not seen.
        ticket: Option<u16>,
    },
}

impl Session {
    /// The session of this connection; `None` before its ClientHello, and for a capture that does
    /// not show the client's address.
    #[must_use]
    pub fn of(connection: &Connection, owners: &Owners) -> Option<Self> {
        let facts = connection.wire_facts()?;
        let (client, server) = (facts.client_hello.as_ref()?, facts.server_hello.as_ref());
        if let Some(server) = server
            && !server.version.encrypts_handshake()
        {
            return Some(Self::Named {
                offered: client.session,
                given: [facts.said().session_ticket, server.session_id],
            });
        }
        let owner = match connection.origin() {
            Origin::Process(process) => owners.of(process.pid),
            Origin::PacketCapture => Owner::Address(connection.local()?.ip()),
        };
        let key = SessionKey {
            owner,
            upstream: connection.upstream(),
            server_name: client.server_name.clone(),
        };
        let taken = server.and_then(|server| server.pre_shared_key);
        let identities = client.identities.as_ref();
        let taken = identities.zip(taken).and_then(|(all, place)| all.at(place));
        let basis = match server {
            None => Basis::Unseen,
            Some(server) if server.pre_shared_key.is_none() => Basis::Certificates,
            Some(_) if client.external_psk => Basis::ExternalKey,
            Some(_) => Basis::Session,
        };
        Some(Self::Unnamed { key, basis, taken, ticket: connection.ticket_record() })
    }
}
