//! How the handshake ended, from what the server sends after the client's flight.
//!
//! A server that accepted the client's flight goes on with a NewSessionTicket or application data.
//! One that refused the certificate, or its absence, sends an alert and closes (RFC 8446 section
//! 4.4.2.4). A clean `close_notify` is as long as that alert; it is told apart by what surrounds
//! it: it answers the client's own, or follows other records, or ends a handshake in which the
//! server wanted no certificate and so had nothing to refuse.

use super::{
    arithmetic::{Arithmetic, Padding},
    client::KEPT,
};
use crate::model::Direction;

/// What is kept of the records, in the order they arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Server records that are no alert, so far.
    said: u16,
    /// `said` when the client's n-th record arrived.
    said_before: [u16; KEPT],
    client_records: u16,
    /// The client has sent, last of all, what may be an alert, or has closed.
    client_leaving: bool,
    /// Length of the alert the server sent unprompted, if nothing but alerts followed.
    server_alert: Option<u16>,
    /// That alert was sent in clear: the server had no keys or could not read the flight.
    server_alert_in_clear: bool,
}

impl Progress {
    pub(super) fn on_encrypted(&mut self, a: Arithmetic, direction: Direction, length: u16) {
        match direction {
            Direction::ToServer => {
                if let Some(slot) = self.said_before.get_mut(usize::from(self.client_records)) {
                    *slot = self.said;
                }
                self.client_records = self.client_records.saturating_add(1);
                self.client_leaving = a.may_be_alert(length);
            }
            Direction::ToClient if a.may_be_alert(length) => {
                if !self.client_leaving && self.client_records > 0 {
                    self.server_alert.get_or_insert(length);
                }
            }
            Direction::ToClient => {
                self.said = self.said.saturating_add(1);
                self.server_alert = None;
            }
        }
    }

    pub(super) fn on_alert_in_clear(&mut self, direction: Direction) {
        match direction {
            Direction::ToServer => self.client_leaving = true,
            Direction::ToClient => self.server_alert_in_clear |= self.client_records > 0,
        }
    }

    pub(super) fn on_close(&mut self, direction: Direction) {
        self.client_leaving |= direction == Direction::ToServer;
    }

    /// Whether the server said something, an alert apart, after the client's first `flight` records.
    pub(super) fn server_went_on(&self, flight: usize) -> bool {
        flight
            .checked_sub(1)
            .filter(|&last| last < usize::from(self.client_records))
            .and_then(|last| self.said_before.get(last))
            .is_some_and(|&before| self.said > before)
    }

    /// Whether the server's last words are an alert that no alert or close of the client prompted.
    pub(super) fn server_alerted(&self, a: Arithmetic, padding: Padding) -> bool {
        self.server_alert_in_clear || self.server_alert == Some(a.alert(padding))
    }

    /// Whether a plaintext alert answered the client's flight.
    pub(super) const fn server_alerted_in_clear(&self) -> bool {
        self.server_alert_in_clear
    }
}
