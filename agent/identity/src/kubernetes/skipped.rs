//! Ports of a pod that Linkerd's proxy in it leaves to the program: what connects to them is no mutual
//! TLS of the mesh, for whoever connects is told so.

use std::ops::RangeInclusive;

/// Annotation of a pod that says so; the injector copies to it what its namespace says.
const ANNOTATION: &str = "config.linkerd.io/skip-inbound-ports";
/// The container that sets it up, by its arguments.
const INIT: &str = "linkerd-init";
const ARGUMENT: &str = "--inbound-ports-to-ignore";
/// Ranges that are kept of one pod.
const MAX_RANGES: usize = 64;

/// The ports, by a pod's annotation and by the names and arguments of its init containers. All of them
/// where they cannot be told.
pub(super) fn ports<'a>(
    annotation: impl Fn(&str) -> Option<&'a str>,
    init_containers: impl Iterator<Item = (&'a str, &'a [String])>,
) -> Vec<RangeInclusive<u16>> {
    let mut all = Vec::new();
    let by_arguments = init_containers.filter(|(name, _)| *name == INIT).flat_map(|(_, words)| {
        let glued = words.iter().filter_map(|word| word.strip_prefix(ARGUMENT)?.strip_prefix('='));
        let apart = words.windows(2).filter(|pair| pair[0] == ARGUMENT).map(|pair| &*pair[1]);
        glued.chain(apart)
    });
    for list in annotation(ANNOTATION).into_iter().chain(by_arguments) {
        for written in list.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            match range(written) {
                Some(range) if all.len() < MAX_RANGES => all.push(range),
                _ => return vec![0..=u16::MAX],
            }
        }
    }
    all
}

fn range(written: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_left_to_the_program() {
        let many = vec!["1"; MAX_RANGES + 1].join(",");
        let all = &[0..=u16::MAX][..];
        let words = |list: &str| vec![ARGUMENT.to_owned(), list.to_owned()];
        for (case, annotation, arguments, expected) in [
            ("nothing", None, vec![], &[][..]),
            ("ports", Some("25, 587"), vec![], &[25..=25, 587..=587]),
            ("a range", Some("8000-8999"), vec![], &[8000..=8999]),
            ("by arguments", None, words("4190,4191"), &[4190..=4190, 4191..=4191]),
            ("in one word", None, vec![format!("{ARGUMENT}=25")], &[25..=25]),
            ("both", Some("25"), words("26"), &[25..=25, 26..=26]),
            ("an argument that is missing", None, vec![ARGUMENT.to_owned()], &[]),
            ("what is no port", Some("http"), vec![], all),
            ("too great a number", Some("70000"), vec![], all),
            ("more than is kept", Some(&*many), vec![], all),
        ] {
            let of = |key: &str| annotation.filter(|_| key == ANNOTATION);
            let containers = [("other", &arguments[..0]), (INIT, &arguments[..])];
            assert_eq!(ports(of, containers.into_iter()), expected, "{case}");
        }
    }
}
