//! How the handshake ended, from what the server sends after the client's flight.
//!
//! The client has finished before the server judges it (RFC 8446 section 2), so its own Finished
//! shows nothing. A server that accepted the flight goes on with a NewSessionTicket or application
//! data. Either may also be sent before the client's Finished came (sections 2 and 4.6.1: data of
//! the server's half of the round trip, tickets where no certificate was asked for), so a record
//! counts only if its sender had received the client's Finished when it began that record.
//!
//! A server that refused the certificate, or its absence, sends an alert and closes (section
//! 4.4.2.4). A clean `close_notify` is as long as that alert; it is told apart by what surrounds
//! it: it answers the client's own, or follows other records, or ends a handshake in which the
//! server wanted no certificate and so had nothing to refuse.
//!
//! A server that pads its records pads its alerts: a single record that would be an alert under the
//! padding of its flight shows nothing. A second one does, for a server that refuses says no more.

use super::{
    arithmetic::{Arithmetic, Padding},
    client::KEPT,
    server,
};
use crate::{heard::Place, model::Direction};

/// How much the server said after the client's flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    None,
    /// One record, and which of its records that is.
    One { at: usize },
    /// More than one record, or one beyond those that are kept.
    More,
}

/// What is kept of the records.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Where the client's first records end.
    ends: [Place; KEPT],
    client_records: u16,
    /// How far the server had received the client when it began its first records; 0 for alerts.
    heard: [Place; server::KEPT],
    /// The same of the latest one that is no alert.
    heard_last: Place,
    server_records: u16,
    /// The client has sent, last of all, what may be an alert, or has closed.
    client_leaving: bool,
    /// The server closed, and the client had not left.
    server_left: bool,
    /// Length of the alert the server sent unprompted, if nothing but alerts followed.
    server_alert: Option<u16>,
    /// That alert was sent in the clear: the server had no keys or could not read the flight.
    server_alert_in_clear: bool,
}

impl Progress {
    /// Where the next record stands for a caller that knows no more than the order of records.
    pub(super) fn next_place(&self, direction: Direction) -> Place {
        let sent = Place::from(self.client_records);
        match direction {
            Direction::ToServer => sent + 1,
            Direction::ToClient => sent,
        }
    }

    /// `place` is where a record of the client ends, and of a record of the server how far it had
    /// received the client when it began it.
    pub(super) fn on_encrypted(
        &mut self,
        a: Arithmetic,
        direction: Direction,
        length: u16,
        place: Place,
    ) {
        match direction {
            Direction::ToServer => {
                if let Some(slot) = self.ends.get_mut(usize::from(self.client_records)) {
                    *slot = place;
                }
                self.client_records = self.client_records.saturating_add(1);
                self.client_leaving = a.may_be_alert(length);
            }
            Direction::ToClient if a.may_be_alert(length) => {
                self.server_records = self.server_records.saturating_add(1);
                if !self.client_leaving && self.client_records > 0 {
                    self.server_alert.get_or_insert(length);
                }
            }
            Direction::ToClient => {
                if let Some(slot) = self.heard.get_mut(usize::from(self.server_records)) {
                    *slot = place;
                }
                self.server_records = self.server_records.saturating_add(1);
                self.heard_last = self.heard_last.max(place);
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
        match direction {
            Direction::ToServer => self.client_leaving = true,
            Direction::ToClient => self.server_left |= !self.client_leaving,
        }
    }

    /// Whether the client left before the server did.
    pub(super) const fn client_left_first(&self) -> bool {
        self.client_leaving && !self.server_left
    }

    /// What the server said, alerts apart, after its own flight of `own` records and in the
    /// knowledge of the client's first `flight` records.
    pub(super) fn answer(&self, own: usize, flight: usize) -> Answer {
        let end = flight
            .checked_sub(1)
            .filter(|&last| last < usize::from(self.client_records))
            .and_then(|last| self.ends.get(last));
        let Some(end) = end else { return Answer::None };
        let said = usize::from(self.server_records);
        let kept = own.min(said)..said.min(self.heard.len());
        // Beyond those that are kept, only the latest is known.
        let later = own < said && said > self.heard.len() && *end <= self.heard_last;
        let mut answers = kept.filter(|&at| self.heard.get(at).is_some_and(|heard| end <= heard));
        match (answers.next(), answers.next().is_some() || later) {
            (_, true) => Answer::More,
            (Some(at), false) => Answer::One { at },
            (None, false) => Answer::None,
        }
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
