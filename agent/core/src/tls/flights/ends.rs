//! Where the flights end among the records.

use super::{
    FlightVerdict, Flights,
    arithmetic::{MESSAGE_HEADER, Padding},
};

impl Flights {
    /// Records of the client up to its Finished, as far as known.
    pub(super) fn flight_end(&self) -> usize {
        // After a HelloRetryRequest there is none of it among these records.
        if self.facts.early_data_offered && !self.facts.hello_retry_request {
            return self.end_after_early_data();
        }
        match self.verdict {
            FlightVerdict::Decided { client_flight_end, .. } => client_flight_end.into(),
            _ => 1,
        }
    }

    /// Records of the server's own flight: a client that sends early data may have been heard when
    /// it was sent.
    pub(super) fn server_flight_end(&self) -> usize {
        let finished = self.arithmetic.finished(Padding::Bare);
        match (self.facts.psk_selected, self.server_flight.end) {
            // EncryptedExtensions and Finished, in two records or one.
            (true, _) if self.server.as_slice().get(1) == Some(&finished) => 2,
            (true, _) => 1,
            (false, Some(end)) => end.into(),
            (false, None) if self.facts.early_data_offered => usize::MAX,
            (false, None) => 0,
        }
    }

    /// The length of the record in which the server gave its first ticket, if it gave any: the first
    /// one after its own flight. (A server that asks for no certificate may give it at once, others
    /// when they have received the client's Finished; none is known that says anything else first.)
    ///
    /// `None` where that place is not known: it has not been reached, the flight was not read, early
    /// data may have been answered first, or the message goes on in another record.
    #[must_use]
    pub fn ticket_record(&self) -> Option<u16> {
        let records = self.server.as_slice();
        let is_finished =
            |length| Padding::ALL.iter().any(|&one| self.arithmetic.finished(one) == length);
        let place = match (self.facts.psk_selected, self.server_flight.end) {
            _ if self.facts.early_data_offered => return None,
            (true, _) if records.get(1).is_some_and(|&second| is_finished(second)) => 2,
            (true, _) => 1,
            (false, end) => end?.into(),
        };
        records.get(place).copied().filter(|&length| length != self.arithmetic.full())
    }

    /// Whether the client has finished a resumption: its Finished stands first, or after the early
    /// data that it may have sent.
    #[must_use]
    pub fn client_finished(&self) -> bool {
        let records = self.client.as_slice();
        if !self.facts.psk_selected {
            return false;
        }
        if self.facts.early_data_offered && !self.facts.hello_retry_request {
            return self.end_after_early_data() <= records.len();
        }
        let finished = |padding: &Padding| self.arithmetic.finished(*padding);
        records.first().is_some_and(|first| Padding::ALL.iter().any(|one| finished(one) == *first))
    }

    /// Whether both sides may rest: the client has sent what may be its whole flight, and neither
    /// has refused the other or is leaving. What comes next tells more, however late.
    #[must_use]
    pub fn rest(&self) -> bool {
        self.client.count > 0
            && !self.client_closed
            && !self.server_closed
            && !matches!(self.verdict, FlightVerdict::Failed { .. })
            && !self.progress.client_left_first()
            && !self.progress.server_alerted(self.arithmetic, self.server_flight.padding)
    }

    /// Early data and, where it was accepted, its EndOfEarlyData come before Finished (RFC 8446
    /// section 4.5). Data may be as long as these: the last place that fits counts, for an answer
    /// to less proves nothing.
    fn end_after_early_data(&self) -> usize {
        let a = self.arithmetic;
        let (end, finished) = (a.record(MESSAGE_HEADER, Padding::Bare), a.finished(Padding::Bare));
        let records = self.client.as_slice();
        let accepted = records.windows(2).rposition(|pair| pair == [end, finished]);
        let declined = || records.iter().rposition(|&length| length == finished);
        // A coalesced flight shows no Finished: an answer to everything so far is one to that.
        let unseen = if self.facts.psk_selected { usize::MAX } else { records.len() };
        accepted.map(|at| at + 2).or_else(|| Some(declined()? + 1)).unwrap_or(unseen)
    }
}
