//! Everything about one hop, line by line.

use std::sync::Arc;

use super::screen::fold;
use crate::cli::{hops, paint::Style};
use hopsight_export::time;
use hopsight_posture::hops::{hop::Hop, table::Snapshot};

/// The lines about a hop, folded to this width.
pub fn lines(snapshot: &Snapshot, hop: &Arc<Hop>, columns: usize, colors: bool) -> Vec<String> {
    let one = Snapshot { hops: vec![Arc::clone(hop)], ..snapshot.clone() };
    let mut lines = hops::table(&one, true).upright(0, colors);
    let treatments = hop.treatments().count();
    if treatments > 1 {
        let heading = "TREATMENTS IN USE (the hop is its worst)";
        lines.extend([String::new(), Style::Bold.paint(heading, colors)]);
        lines.extend(hop.servers.iter().flat_map(|server| {
            server.treatments.iter().map(|treatment| {
                let word = Style::of(treatment.security);
                format!(
                    "  {} to {}: {}, verified {}, last seen {} ago",
                    word.paint(treatment.security.as_str(), colors),
                    server.address,
                    treatment.client_auth,
                    treatment.server_verified,
                    time::age(snapshot.at - treatment.last_seen),
                )
            })
        }));
    }
    let violations = hop.context.compliance.iter().flat_map(|found| &found.violations);
    let details = violations.map(|one| format!("  {}: {}", one.rule, one.detail));
    let details: Vec<_> = details.map(|line| hops::clean(&line)).collect();
    if !details.is_empty() {
        lines.extend([String::new(), Style::Bold.paint("WHAT IS WRONG", colors)]);
        lines.extend(details);
    }
    lines.iter().flat_map(|line| fold(line, columns)).collect()
}
