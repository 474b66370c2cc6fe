//! What may be the matter with a chain.

use rcgen::{
    BasicConstraints, CidrSubnet, CustomExtension, DnType, ExtendedKeyUsagePurpose as Purpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use crate::plan::{Listed, NAME, Plan, Sent, Trusted};

/// A fault by its name, and how many intermediates it takes.
pub type Fault = (&'static str, usize, fn(&mut Plan));

fn permits(names: &[&str], addresses: &[[u8; 4]]) -> NameConstraints {
    let names = names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned()));
    let addresses = addresses
        .iter()
        .map(|address| GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(*address, 8)));
    let permitted_subtrees = names.chain(addresses).collect();
    NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }
}

fn excludes(name: &str) -> NameConstraints {
    let excluded_subtrees = vec![GeneralSubtree::DnsName(name.to_owned())];
    NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees }
}

fn dns(names: &[&str]) -> Vec<SanType> {
    names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect()
}

/// Lists of all CAs without anything in them, but that of the leaf's issuer.
fn lists(plan: &mut Plan, of_the_issuer: Listed) {
    let cas = plan.params.len() - 1;
    plan.lists = vec![Listed::Empty; cas];
    plan.lists[cas - 1] = of_the_issuer;
}

pub const FAULTS: &[Fault] = &[
    ("none", 0, |_| {}),
    ("the root is sent", 0, |plan| plan.sent = Sent::WithTheRoot),
    ("strangers are sent", 0, |plan| plan.sent = Sent::WithStrangers),
    ("in the wrong order", 2, |plan| plan.sent = Sent::Reversed),
    ("all twice", 1, |plan| plan.sent = Sent::Twice),
    ("a bundle is trusted", 0, |plan| plan.trusted = Trusted::Bundle),
    ("its issuer is trusted", 1, |plan| plan.trusted = Trusted::Issuer),
    ("the leaf is trusted", 0, |plan| plan.trusted = Trusted::Leaf),
    ("another CA", 0, |plan| plan.trusted = Trusted::Stranger),
    ("another CA, and the root is sent", 0, |plan| {
        (plan.trusted, plan.sent) = (Trusted::Stranger, Sent::WithTheRoot);
    }),
    ("a namesake of the CA", 0, |plan| plan.trusted = Trusted::Namesake),
    ("its issuer is missing", 1, |plan| plan.sent = Sent::WithoutTheFirst),
    ("the last intermediate is missing", 2, |plan| plan.sent = Sent::WithoutTheLast),
    ("signed by a namesake of its issuer", 0, |plan| {
        plan.signed_by_a_namesake = Some(plan.params.len() - 1);
    }),
    ("its issuer is spelled otherwise", 0, |plan| {
        plan.issuer_spelled_otherwise = Some(plan.params.len() - 1);
    }),
    ("the issuer of the intermediate is spelled otherwise", 1, |plan| {
        plan.issuer_spelled_otherwise = Some(1);
    }),
    ("a namesake of its issuer is spelled otherwise", 1, |plan| {
        plan.issuer_spelled_otherwise = Some(plan.params.len() - 1);
        plan.signed_by_a_namesake = Some(plan.params.len() - 1);
    }),
    ("the intermediate is signed by a namesake", 1, |plan| plan.signed_by_a_namesake = Some(1)),
    ("the leaf has ended", 0, |plan| plan.leaf().not_after = date_time_ymd(2026, 2, 1)),
    ("the leaf has not begun", 0, |plan| plan.leaf().not_before = date_time_ymd(2026, 12, 1)),
    ("the issuer has ended", 1, |plan| plan.issuer().not_after = date_time_ymd(2026, 2, 1)),
    ("the root has ended", 0, |plan| plan.root().not_after = date_time_ymd(2026, 2, 1)),
    ("the root has not begun", 0, |plan| plan.root().not_before = date_time_ymd(2026, 12, 1)),
    ("another name", 0, |plan| plan.name = Some("other.upstream.test")),
    ("no name is asked for", 0, |plan| plan.name = None),
    ("a wildcard", 0, |plan| plan.leaf().subject_alt_names = dns(&["*.upstream.test"])),
    ("a wildcard of another level", 0, |plan| plan.leaf().subject_alt_names = dns(&["*.test"])),
    ("several names", 0, |plan| plan.leaf().subject_alt_names = dns(&["a.test", NAME, "b.test"])),
    ("the name in other letters", 0, |plan| plan.name = Some("PAY.Upstream.Test")),
    ("the common name alone", 0, |plan| {
        plan.leaf().subject_alt_names = Vec::new();
        plan.leaf().distinguished_name.push(DnType::CommonName, NAME);
    }),
    ("the common name beside others", 0, |plan| {
        plan.leaf().subject_alt_names = dns(&["a.test"]);
        plan.leaf().distinguished_name.push(DnType::CommonName, NAME);
    }),
    ("a wildcard in a label", 0, |plan| {
        plan.leaf().subject_alt_names = dns(&["p*.upstream.test"]);
    }),
    ("for clients", 0, |plan| plan.leaf().extended_key_usages = vec![Purpose::ClientAuth]),
    ("for both sides", 0, |plan| {
        plan.leaf().extended_key_usages = vec![Purpose::ClientAuth, Purpose::ServerAuth];
    }),
    ("for any purpose", 0, |plan| plan.leaf().extended_key_usages = vec![Purpose::Any]),
    ("for gated cryptography", 0, |plan| {
        plan.leaf().extended_key_usages = vec![Purpose::Other(vec![2, 16, 840, 1, 113_730, 4, 1])];
    }),
    ("for no purpose that is said", 0, |plan| plan.leaf().extended_key_usages = Vec::new()),
    ("the root is for clients", 0, |plan| {
        plan.root().extended_key_usages = vec![Purpose::ClientAuth];
    }),
    ("the leaf is for clients and is trusted", 0, |plan| {
        plan.leaf().extended_key_usages = vec![Purpose::ClientAuth];
        plan.trusted = Trusted::Leaf;
    }),
    ("the common name alone, which is not permitted", 1, |plan| {
        plan.leaf().subject_alt_names = Vec::new();
        plan.leaf().distinguished_name.push(DnType::CommonName, NAME);
        plan.issuer().name_constraints = Some(permits(&["example.org"], &[]));
    }),
    ("the issuer is for clients", 1, |plan| {
        plan.issuer().extended_key_usages = vec![Purpose::ClientAuth];
    }),
    ("the key only signs CRLs", 0, |plan| {
        plan.leaf().key_usages = vec![KeyUsagePurpose::CrlSign];
    }),
    ("the key encrypts keys", 0, |plan| {
        plan.leaf().key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    }),
    ("the key is for anything", 0, |plan| plan.leaf().key_usages = Vec::new()),
    ("the issuer is no CA", 1, |plan| plan.issuer().is_ca = IsCa::ExplicitNoCa),
    ("the issuer does not say that it is a CA", 1, |plan| plan.issuer().is_ca = IsCa::NoCa),
    ("the issuer's key signs no certificates", 1, |plan| {
        plan.issuer().key_usages = vec![KeyUsagePurpose::CrlSign];
    }),
    ("the root's key signs no certificates", 0, |plan| {
        plan.root().key_usages = vec![KeyUsagePurpose::CrlSign];
    }),
    ("the root is no CA", 0, |plan| plan.root().is_ca = IsCa::ExplicitNoCa),
    ("the root does not say that it is a CA", 0, |plan| plan.root().is_ca = IsCa::NoCa),
    ("its issuer does not say that it is a CA, and is trusted", 1, |plan| {
        plan.issuer().is_ca = IsCa::NoCa;
        plan.trusted = Trusted::Issuer;
    }),
    ("the root's key is for anything", 0, |plan| plan.root().key_usages = Vec::new()),
    ("the leaf is a CA", 0, |plan| plan.leaf().is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    ("the root allows no CA below itself", 0, |plan| {
        plan.root().is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }),
    ("the root allows one CA below itself", 0, |plan| {
        plan.root().is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    }),
    ("the first intermediate allows no CA below itself", 1, |plan| {
        plan.params[1].is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }),
    ("the issuer allows no CA below itself", 1, |plan| {
        plan.issuer().is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }),
    ("names that the root permits", 0, |plan| {
        plan.root().name_constraints = Some(permits(&["upstream.test"], &[]));
    }),
    ("names that the root does not permit", 0, |plan| {
        plan.root().name_constraints = Some(permits(&["example.org"], &[]));
    }),
    ("names that the issuer permits", 1, |plan| {
        plan.issuer().name_constraints = Some(permits(&["upstream.test"], &[]));
    }),
    ("names that the issuer does not permit", 1, |plan| {
        plan.issuer().name_constraints = Some(permits(&["example.org"], &[]));
    }),
    ("names that the issuer excludes", 1, |plan| {
        plan.issuer().name_constraints = Some(excludes("upstream.test"));
    }),
    ("other names that the issuer excludes", 1, |plan| {
        plan.issuer().name_constraints = Some(excludes("example.org"));
    }),
    ("an address that the issuer permits", 1, |plan| {
        plan.leaf().subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())];
        plan.issuer().name_constraints = Some(permits(&[], &[[10, 0, 0, 0]]));
        plan.name = None;
    }),
    ("an address that the issuer does not permit", 1, |plan| {
        plan.leaf().subject_alt_names = vec![SanType::IpAddress([192, 0, 2, 1].into())];
        plan.issuer().name_constraints = Some(permits(&[], &[[10, 0, 0, 0]]));
        plan.name = None;
    }),
    ("one of two names is not permitted", 1, |plan| {
        plan.leaf().subject_alt_names = dns(&[NAME, "a.example.org"]);
        plan.issuer().name_constraints = Some(permits(&["upstream.test"], &[]));
    }),
    ("a critical extension that nobody knows", 0, |plan| {
        let mut extension =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32_473, 1], vec![5, 0]);
        extension.set_criticality(true);
        plan.leaf().custom_extensions = vec![extension];
    }),
    ("lists without it", 0, |plan| lists(plan, Listed::Empty)),
    ("it is revoked", 0, |plan| lists(plan, Listed::Revoking)),
    ("another certificate is revoked", 0, |plan| lists(plan, Listed::RevokingAnother)),
    ("its issuer has no list", 0, |plan| lists(plan, Listed::Absent)),
    ("the list of its issuer has ended", 0, |plan| lists(plan, Listed::Ended)),
    ("the list is a namesake's", 0, |plan| lists(plan, Listed::ByANamesake)),
    ("it is revoked, and a namesake's list is newer", 0, |plan| {
        lists(plan, Listed::RevokingBesideANamesake);
    }),
    ("it is revoked by a list that is spelled otherwise", 0, |plan| {
        lists(plan, Listed::RevokingSpelledOtherwise);
    }),
    ("the list of its issuer is of other certificates", 0, |plan| lists(plan, Listed::OfAPart)),
    ("its issuer is revoked", 1, |plan| {
        lists(plan, Listed::Empty);
        let above = plan.lists.len() - 2;
        plan.lists[above] = Listed::Revoking;
    }),
    ("before all of them", 0, |plan| plan.at = 1_700_000_000),
    ("after the leaf", 0, |plan| plan.at = 1_900_000_000),
];
