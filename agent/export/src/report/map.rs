//! The worst hops as a picture: proxies left, upstreams right, a line for each hop.

use std::fmt::Write as _;

use hopsight_core::model::Security;
use hopsight_posture::hops::labels::printable;

use super::HopLine;
use crate::markup::Text;

/// Hops that are drawn.
const MOST: usize = 40;
/// Lengths in pixels.
const ROW: usize = 24;
const WIDTH: usize = 960;
const LEFT: usize = 300;
const RIGHT: usize = 640;
/// Bytes of a name that fit.
const NAME: usize = 42;

/// Draws the first of `hops`, which are the worst.
pub(super) fn draw(out: &mut String, hops: &[HopLine]) {
    let mut drawn: Vec<&HopLine> = hops.iter().take(MOST).collect();
    // Lines of one proxy lie together, in the order of its worst.
    let worst = |proxy: &str| hops.iter().position(|hop| hop.proxy == proxy);
    drawn.sort_by_key(|hop| worst(&hop.proxy));
    let height = (drawn.len() + 1) * ROW;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<svg class=\"map\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"The worst hops: proxies left, upstreams right\">"
    );
    let mut first = 0;
    while first < drawn.len() {
        let proxy = &drawn[first].proxy;
        let of_it = drawn[first..].iter().take_while(|hop| hop.proxy == *proxy).count();
        let middle = (2 * first + of_it + 1) * ROW / 2;
        let _ = writeln!(
            out,
            "<text class=\"end\" x=\"{}\" y=\"{}\">{}</text>",
            LEFT - 10,
            middle + 4,
            Text(&printable(proxy, NAME))
        );
        for (at, hop) in drawn.iter().enumerate().skip(first).take(of_it) {
            line(out, hop, middle, (at + 1) * ROW);
        }
        first += of_it;
    }
    *out += "</svg>\n";
    if hops.len() > MOST {
        let _ = writeln!(out, "<p>The {MOST} worst of {} hops.</p>", hops.len());
    }
}

fn line(out: &mut String, hop: &HopLine, from: usize, to: usize) {
    // Told by the dashes as well as by the colour.
    let dashes = match hop.security {
        Security::Mtls => "",
        Security::Tls => "12 4",
        Security::Plaintext => "3 4",
        Security::Unknown => "1 7",
    };
    let bend = usize::midpoint(LEFT, RIGHT);
    let _ = writeln!(
        out,
        "<path class=\"{security}\" d=\"M{LEFT} {from}C{bend} {from} {bend} {to} {end} {to}\" \
         stroke-dasharray=\"{dashes}\"/>\
         <text class=\"{security}\" x=\"{end}\" y=\"{y}\">{security}</text>\
         <text x=\"{RIGHT}\" y=\"{y}\">{}</text>",
        Text(&printable(hop.name.as_deref().unwrap_or(&hop.upstream), NAME)),
        security = hop.security,
        end = RIGHT - 80,
        y = to + 4,
    );
}
