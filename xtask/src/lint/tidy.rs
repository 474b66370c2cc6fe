//! Borders that neither the compiler nor clippy keeps, and what ARCHITECTURE.md says about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    imports::{imports, without_tests},
    sources::Sources,
};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// The pure crates, each with the beginning of the line of ARCHITECTURE.md that orders its modules.
const PURE: [(&str, &str); 2] = [("agent/core", "`collections`,"), ("agent/posture", "`policy`,")];
/// Begins the name of every package of ours.
const PREFIX: &str = "hopsight-";

/// What a pure crate may not name: clocks, files, sockets, threads, processes and async. `io::Error`
/// is no I/O: it is what a caller that reads files for it reports.
const IMPURE: [&str; 10] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "async fn",
    "tokio::",
];

/// One sentence per border that is crossed.
pub fn findings(sources: &Sources) -> Vec<String> {
    let mut findings = Vec::new();
    crates(sources, &mut findings);
    for (package, list) in PURE {
        order(sources, Path::new(package), list, &mut findings);
        purity(sources, Path::new(package), &mut findings);
    }
    circles(sources, &mut findings);
    findings
}

/// The packages of ours that a manifest lists as normal dependencies, without their prefix.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter_map(|name| name.strip_prefix(PREFIX)).map(str::to_owned).collect()
}

/// Words between backticks.
fn words(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Rows of the table of crates: folder, and the crates it uses.
fn table(architecture: &str) -> BTreeMap<&str, BTreeSet<String>> {
    let rows = architecture.lines().filter(|line| line.starts_with("| `agent"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [folder, .., uses] = cells.as_slice() else { return None };
        let uses = words(uses).into_iter().map(str::to_owned).collect();
        Some((*words(folder).first()?, uses))
    })
    .collect()
}

/// The diagram's layers, each with its crates: what stands further left uses what stands right.
fn layers(architecture: &str) -> Vec<Vec<&str>> {
    let diagram = architecture.lines().find(|line| line.starts_with("agent → "));
    let layers = diagram.unwrap_or_default().split(" → ");
    layers.map(|layer| layer.split(", ").map(str::trim).collect()).collect()
}

fn crates(sources: &Sources, findings: &mut Vec<String>) {
    let architecture = sources.text(ARCHITECTURE);
    let table = table(architecture);
    let layers = layers(architecture);
    let layer_of = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    let ours = sources
        .packages()
        .filter(|package| package.starts_with("agent") && !package.starts_with("agent/fuzz"));
    for package in ours {
        let folder = package.to_string_lossy();
        let uses = dependencies(sources.text(package.join("Cargo.toml")));
        match table.get(&*folder) {
            Some(said) if *said == uses => {}
            Some(said) => findings.push(format!(
                "{folder} uses {uses:?}; the table of crates in {ARCHITECTURE} says {said:?}"
            )),
            None => findings
                .push(format!("{folder} is missing in the table of crates in {ARCHITECTURE}")),
        }
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let Some(own) = layer_of(&name) else {
            findings.push(format!("{name} is missing in the diagram of {ARCHITECTURE}"));
            continue;
        };
        for used in &uses {
            if layer_of(used).is_none_or(|layer| layer <= own) {
                findings.push(format!(
                    "{folder} uses {used}, which the diagram of {ARCHITECTURE} does not allow"
                ));
            }
        }
        for (_, path, text) in sources.modules(package) {
            for import in imports(text) {
                let imported = import[0].replace('_', "-");
                let Some(imported) = imported.strip_prefix(PREFIX) else { continue };
                if !uses.contains(imported) {
                    findings.push(format!(
                        "{} imports {imported}, which {folder} may not use",
                        path.display()
                    ));
                }
            }
        }
    }
}

/// Modules use only those before them in the line of ARCHITECTURE.md that begins with `list`.
fn order(sources: &Sources, package: &Path, list: &str, findings: &mut Vec<String>) {
    let architecture = sources.text(ARCHITECTURE);
    let list = architecture.lines().find(|line| line.starts_with(list));
    let order = words(list.unwrap_or_default());
    for (module, path, text) in sources.modules(package) {
        let Some(own) = module.first() else { continue };
        let Some(position) = order.iter().position(|name| name == own) else {
            findings.push(format!("{own} is missing in the list of modules in {ARCHITECTURE}"));
            continue;
        };
        for import in imports(text) {
            let [root, used, ..] = import.as_slice() else { continue };
            let used = order.iter().position(|name| name == used);
            if root == "crate" && used.is_some_and(|used| used > position) {
                findings.push(format!(
                    "{} imports {}, which stands after {own} in {ARCHITECTURE}",
                    path.display(),
                    import.join("::")
                ));
            }
        }
    }
}

fn purity(sources: &Sources, package: &Path, findings: &mut Vec<String>) {
    for (_, path, text) in sources.modules(package) {
        let paths = imports(text).into_iter().map(|import| import.join("::"));
        let code = without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for place in code.map(str::to_owned).chain(paths) {
            for word in IMPURE.iter().filter(|word| place.contains(**word)) {
                findings.push(format!(
                    "{} names {word}: {} is pure",
                    path.display(),
                    package.display()
                ));
            }
        }
    }
}

/// Sibling modules, at any depth, never import each other in a circle.
fn circles(sources: &Sources, findings: &mut Vec<String>) {
    for package in sources.packages() {
        let modules: BTreeMap<Vec<String>, &str> =
            sources.modules(package).map(|(module, _, text)| (module, text)).collect();
        // Below which module, from which of its children to which others.
        let mut arrows: BTreeMap<&[String], BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
        for (module, text) in &modules {
            for import in imports(text) {
                let Some(target) = resolve(module, &import) else { continue };
                let longest =
                    (0..=target.len()).rev().find(|&n| modules.contains_key(&target[..n]));
                let target = &target[..longest.unwrap_or(0)];
                let common = module.iter().zip(target).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                    let children = arrows.entry(&module[..common]).or_default();
                    children.entry(from).or_default().insert(to.clone());
                }
            }
        }
        for (parent, children) in arrows {
            for (from, to) in &children {
                if to.iter().any(|to| reaches(&children, to, from)) {
                    findings.push(format!(
                        "{}: {} is part of a circle of imports",
                        package.display(),
                        [parent, &[(*from).to_owned()]].concat().join("::")
                    ));
                }
            }
        }
    }
}

/// The path from the crate's root that an import in `module` names; `None` for other crates.
fn resolve(module: &[String], import: &[String]) -> Option<Vec<String>> {
    let up = import.iter().take_while(|segment| *segment == "super").count();
    let (base, rest) = match import.first()?.as_str() {
        "crate" => (&module[..0], &import[1..]),
        "self" => (module, &import[1..]),
        "super" => (&module[..module.len().checked_sub(up)?], &import[up..]),
        _ => return None,
    };
    Some([base, rest].concat())
}

fn reaches(arrows: &BTreeMap<&str, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at.clone()) {
            open.extend(arrows.get(at.as_str()).into_iter().flatten().cloned());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Sources {
        Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("the workspace")
    }

    #[test]
    fn the_workspace_is_tidy() {
        let findings = findings(&workspace());
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn what_is_planted_is_found() {
        let tidy = workspace();
        for (planted, sources, expected) in [
            (
                "an edge that imports another",
                tidy.with("agent/export/src/health.rs", "use hopsight_capture::Source;\n"),
                "imports capture, which agent/export may not use",
            ),
            (
                "an edge that depends on another",
                tidy.replaced(
                    "agent/export/Cargo.toml",
                    "hopsight-core.workspace",
                    "hopsight-capture.workspace = true\nhopsight-core.workspace",
                ),
                "the table of crates in ARCHITECTURE.md says",
            ),
            (
                "a file read in the core",
                tidy.with("agent/core/src/verdict.rs", "use std::fs;\n"),
                "names std::fs",
            ),
            (
                "a clock in the core",
                tidy.with("agent/core/src/verdict.rs", "fn now() { Instant::now(); }\n"),
                "names Instant::now",
            ),
            (
                "a module of the core that imports a later one",
                tidy.with("agent/core/src/tls/alert.rs", "use crate::pipeline::Limits;\n"),
                "stands after tls",
            ),
            (
                "a clock where hops are told",
                tidy.with("agent/posture/src/policy/time.rs", "fn now() { SystemTime::now(); }\n"),
                "names SystemTime::now",
            ),
            (
                "intent that looks at hops",
                tidy.with("agent/posture/src/policy/time.rs", "use crate::hops::moment::Moment;\n"),
                "stands after policy",
            ),
            (
                "a table that says otherwise than the code",
                tidy.replaced("ARCHITECTURE.md", "| `core`, `posture` |", "| `core` |"),
                "the table of crates in ARCHITECTURE.md says",
            ),
            (
                "a diagram that says otherwise than the code",
                tidy.replaced(
                    "ARCHITECTURE.md",
                    " → system → posture → core",
                    " → posture → core → system",
                ),
                "which the diagram of ARCHITECTURE.md does not allow",
            ),
            (
                "a circle",
                tidy.with("agent/export/src/metrics/text.rs", "use super::samples::Samples;\n"),
                "metrics::text is part of a circle",
            ),
        ] {
            let findings = findings(&sources);
            assert!(
                findings.iter().any(|finding| finding.contains(expected)),
                "{planted}: {findings:?}"
            );
        }
    }
}
