use hopsight_core::{
    model::{Outcome, ServerVerified},
    report::Verdict,
};

use super::assess_tests::{MUTUAL, ONE_WAY, PLAINTEXT, observation, policy, words};
use crate::policy::{
    certificate::{ChainFinding, ChainWord},
    observation::Observation,
};

fn found(answer: ChainWord) -> ChainFinding {
    ChainFinding { answer, problem: Some("it leads elsewhere".to_owned()), stands: 0..1 }
}

#[test]
fn chains_are_judged() {
    const BROKEN: &str = "violation chain_not_trusted";
    let asked = policy("require = \"tls\"\nmust_chain = true");
    let not_asked = policy("require = \"tls\"");
    let unverified = Verdict { server_verified: ServerVerified::Unknown, ..ONE_WAY };
    let failed = Verdict { outcome: Outcome::Failed, ..unverified };
    let [trusted, other, name, unknown] =
        [ChainWord::Trusted, ChainWord::OtherCa, ChainWord::WrongName, ChainWord::Unknown]
            .map(found);
    for (case, policies, verdict, found, expected) in [
        ("trusted", &asked, MUTUAL, Some(&trusted), "compliant"),
        ("another CA", &asked, unverified, Some(&other), BROKEN),
        ("another name", &asked, MUTUAL, Some(&name), BROKEN),
        ("not told", &asked, MUTUAL, Some(&unknown), "unknown"),
        ("not seen", &asked, MUTUAL, None, "unknown"),
        ("refused", &asked, failed, Some(&other), BROKEN),
        ("refused for another reason", &asked, failed, Some(&trusted), "unknown"),
        ("nobody asks", &not_asked, ONE_WAY, Some(&trusted), "compliant"),
        ("nobody asks, and nothing is known", &not_asked, ONE_WAY, None, "compliant"),
        ("verified, and leads elsewhere", &not_asked, ONE_WAY, Some(&other), BROKEN),
        ("verified, for a name that nobody saw", &not_asked, ONE_WAY, Some(&name), "compliant"),
    ] {
        let seen = Observation { server_chain: found, ..observation(verdict) };
        assert_eq!(words(policies, None, &seen), expected, "{case}");
    }
    let in_the_clear = words(&asked, None, &observation(PLAINTEXT));
    assert_eq!(in_the_clear, "violation plaintext", "it has no chain");
}
