//! Chains that anybody may have sent, against CAs that anybody may have written down.

use std::sync::Arc;

use hopsight_core::tls::certificate::{Chain, MAX_ISSUERS, facts};
use hopsight_posture::policy::{
    certificate::{
        ChainWord, Purpose, RevocationSource, RevocationWord, Revoked, Shown, Standing, Trust,
        presented, revocation,
    },
    time::UnixTime,
};

use crate::input::Input;

/// Where a chain leads: an answer at any time that stands at that time, with a reason unless it is
/// trusted, in words of a bounded length. What is left is the OCSP response that came with it, or the list
/// of an issuer.
pub fn chain(data: &[u8]) {
    let mut input = Input(data);
    let purpose = if input.byte() & 1 == 0 { Purpose::Server } else { Purpose::Client };
    let at = UnixTime::from_secs(u64::from(input.short()) << 16 | u64::from(input.short()));
    let name = String::from_utf8_lossy(input.bytes(16)).into_owned();
    let (trusted, sent) = (usize::from(input.byte() % 4), usize::from(input.byte() % 8));
    let mut next = || {
        let length = usize::from(input.short());
        input.bytes(length).to_vec()
    };
    let Ok(trust) = Trust::of((0..trusted).map(|_| next()).collect::<Vec<_>>()) else { return };
    let end_entity = next().into();
    let issuers: Vec<Box<[u8]>> = (0..sent.min(MAX_ISSUERS)).map(|_| next().into()).collect();
    let response = next();
    let chain = Chain { end_entity, length: issuers.len() + 1, issuers };
    let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    for names in [&[][..], &[name]] {
        let found = presented(&chain, &trust, names, purpose, at);
        assert!(found.stands.contains(&now), "{found:?}");
        assert_eq!(found.problem.is_none(), found.answer == ChainWord::Trusted, "{found:?}");
        assert!(found.problem.is_none_or(|problem| problem.len() < 4_096));
    }
    let Ok(facts) = facts(&chain) else { return };
    let shown = Shown {
        facts: &facts,
        chain: Some(&chain),
        purpose,
        staple: Some(&response),
        standing: Standing::Trusted,
    };
    let trusts = [Arc::new(trust)];
    if let Ok(list) = Revoked::read(&response) {
        let shown = Shown { staple: None, ..shown };
        let found = revocation(shown, &trusts, &[Arc::new(list)], at);
        assert!(found.stands.contains(&now), "{found:?}");
        assert!(found.says.by != Some(RevocationSource::Staple), "{found:?}");
    }
    let found = revocation(shown, &trusts, &[], at);
    assert!(found.stands.contains(&now), "{found:?}");
    // Without a list only the response can say something.
    let is_told = found.says.answer != RevocationWord::Unknown;
    assert_eq!(is_told, found.says.by == Some(RevocationSource::Staple), "{found:?}");
}
