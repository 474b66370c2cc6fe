//! What the proxy's TLS library showed beside the wire.

use super::{Certainty, Circumstances, Judgement, known};
use crate::{
    model::{ClientAuth, Evidence, Outcome, ServerVerified},
    report::Verdict,
    tls::{alert, transcript::Transcript, wire::WireHandshake},
};

/// What the library showed outranks what the wire let us infer, and completes what it hides. It
/// raises no outcome: what it hashes ends with the client's own Finished (RFC 8446 section 4.4.1),
/// and whether the server accepted that is seen on the wire or not at all.
///
/// The order matters, for each step may take back what those before it said:
/// 1. the client's authentication, and whether a session was resumed: what the library showed;
/// 2. the outcome, downwards only: an alert the library received under the server's keys;
/// 3. whether the server was verified, which is a fact of its own;
/// 4. the outcome, downwards once more: an application that left because of 3.
pub(super) fn apply(
    judgement: &mut Judgement,
    wire_handshake: &WireHandshake,
    transcript: &Transcript,
    circumstances: Circumstances,
) {
    let wire = judgement.verdict;
    // Up to TLS 1.2 both sides' messages are in the clear. What contradicts them is the transcript of
    // another handshake, whose randoms somebody repeated.
    let shown = transcript.facts.client_auth();
    let is_of_another = transcript.is_complete()
        && !transcript.is_resumed()
        && wire.evidence == Evidence::Wire
        && ![wire.client_auth, shown].contains(&ClientAuth::Unknown)
        && wire.client_auth != shown;
    if is_of_another {
        return;
    }
    let refused = transcript.alert_received.is_some_and(|description| {
        transcript.facts.certificate_request && alert::refuses_certificate(description)
    });
    if transcript.is_complete() && transcript.is_resumed() {
        judgement.resumed = Some(true);
    } else if transcript.is_complete() {
        judgement.wire_client_auth = Some(wire.client_auth);
        let shown = known(shown, wire.outcome, Evidence::Library);
        let why_incomplete = wire.reason.filter(|_| wire.outcome == Outcome::Incomplete);
        judgement.verdict = Verdict { reason: why_incomplete.or(shown.reason), ..shown };
        judgement.resumed = Some(false);
        judgement.certainty = judgement.certainty.max(Certainty::Decided);
    }
    if refused {
        judgement.verdict.outcome = Outcome::Rejected;
        judgement.certainty = Certainty::Settled;
    } else if transcript.alert_received.is_some_and(|n| n != alert::description::CLOSE_NOTIFY) {
        judgement.verdict.outcome = Outcome::Failed;
        judgement.certainty = Certainty::Settled;
    }
    if let seen @ (ServerVerified::Yes | ServerVerified::No) = server_verified(transcript) {
        judgement.verdict.server_verified = seen;
    }
    if application_refused(wire_handshake, transcript, circumstances) {
        judgement.verdict.outcome = Outcome::Failed;
    }
    // The reason was why the outcome was not known.
    let verdict = &mut judgement.verdict;
    if verdict.outcome != Outcome::Incomplete && verdict.client_auth != ClientAuth::Unknown {
        verdict.reason = None;
    }
}

/// The application looked at the verification result, it was bad, and the connection ended
/// without application data: nginx with `proxy_ssl_verify on`. (`curl -k` looks and goes on, and so does
/// a program whose library asks for its opinion in the middle of the handshake, if it finishes that.)
fn application_refused(
    wire: &WireHandshake,
    transcript: &Transcript,
    circumstances: Circumstances,
) -> bool {
    let bad = transcript.application_verify_error.is_some_and(|error| error != 0)
        || name_mismatch(transcript);
    bad && circumstances.ended && !transcript.is_past_verification() && !wire.client_sent_data()
}

/// `X509_check_host` answered anything but 1, match.
const fn name_mismatch(transcript: &Transcript) -> bool {
    matches!(transcript.host_check, Some(result) if result != 1)
}

/// `yes` needs a good result *and* a sign that a bad one would have been acted on: the library
/// itself would have ended the handshake, the application's callback (which the library obeys)
/// approved, or the application asked for the result and checked the name (nginx does so only under
/// `proxy_ssl_verify on`). A Go program that verifies by a function of its own, with a good result,
/// stays unknown: what it makes of a bad one is not seen.
fn server_verified(transcript: &Transcript) -> ServerVerified {
    const GOOD: i32 = 0;
    let library = transcript.server_verification;
    let unverified = transcript.never_verified && transcript.facts.server_certificate.is_some();
    let is_bad = unverified
        || library.is_some_and(|verification| verification.error != 0)
        || transcript.application_verify_error.is_some_and(|error| error != 0)
        || name_mismatch(transcript);
    match library {
        _ if is_bad => ServerVerified::No,
        Some(verification)
            if verification.enforced
                || (transcript.verify_callback == Some(GOOD) && !transcript.approves_anything)
                || transcript.is_accepted() =>
        {
            ServerVerified::Yes
        }
        _ => ServerVerified::Unknown,
    }
}
