//! In which form an answer is wanted (RFC 9110 section 12).

use std::io::Write as _;

use anyhow::Context as _;
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};

use crate::metrics::text::TextFormat;

/// What compresses an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Nothing.
    Identity,
    /// RFC 1952.
    Gzip,
}

/// An answer of some size, ready to be sent.
#[derive(Debug)]
pub(super) struct Rendered {
    content_type: &'static str,
    encoding: Encoding,
    body: Vec<u8>,
}

impl Rendered {
    /// Compresses `text` if that is wanted: metrics of many hops repeat themselves, and shrink to a
    /// tenth or less.
    ///
    /// # Errors
    /// If it cannot be compressed.
    pub(super) fn new(
        content_type: &'static str,
        text: String,
        encoding: Encoding,
    ) -> anyhow::Result<Self> {
        let body = match encoding {
            Encoding::Identity => text.into_bytes(),
            Encoding::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(text.as_bytes()).context("compress an answer")?;
                gzip.finish().context("compress an answer")?
            }
        };
        Ok(Self { content_type, encoding, body })
    }
}

impl IntoResponse for Rendered {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
        if self.encoding == Encoding::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The format of metrics that a client likes best; Prometheus' own where it does not care.
pub(super) fn text_format(headers: &HeaderMap) -> TextFormat {
    let (mut openmetrics, mut text) = (0.0, 0.0);
    for Offer { name, version, quality } in offers(headers, &header::ACCEPT) {
        let best = match (name.as_str(), version.as_deref()) {
            ("application/openmetrics-text", None | Some("1.0.0")) => &mut openmetrics,
            ("text/plain", None | Some("0.0.4")) => &mut text,
            _ => continue,
        };
        *best = quality.max(*best);
    }
    if openmetrics > text { TextFormat::OpenMetrics } else { TextFormat::Prometheus }
}

/// Whether a client takes compressed answers.
pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let mut accepted = offers(headers, &header::ACCEPT_ENCODING);
    let takes_gzip = accepted.any(|offer| offer.name == "gzip" && offer.quality > 0.0);
    if takes_gzip { Encoding::Gzip } else { Encoding::Identity }
}

/// One of the things that a client says it takes.
struct Offer {
    /// In lower case.
    name: String,
    version: Option<String>,
    /// From 0, not at all, to 1.
    quality: f32,
}

fn offers(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = Offer> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut version, mut quality) = (None, 1.0);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "version" => version = Some(value.trim().to_owned()),
                // What is no number is not meant seriously.
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                _ => {}
            }
        }
        Offer { name, version, quality }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_client_chooses_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (name, accept, wanted) in [
            ("Prometheus", prometheus, TextFormat::OpenMetrics),
            ("a browser", "text/html,application/xml;q=0.9,*/*;q=0.8", TextFormat::Prometheus),
            ("curl", "*/*", TextFormat::Prometheus),
            ("either", "application/openmetrics-text, text/plain", TextFormat::Prometheus),
            (
                "an older version",
                "application/openmetrics-text;version=0.0.1",
                TextFormat::Prometheus,
            ),
            ("not at all", "application/openmetrics-text;q=0", TextFormat::Prometheus),
            ("nonsense", "application/openmetrics-text;q=x", TextFormat::Prometheus),
            ("nothing", "", TextFormat::Prometheus),
        ] {
            assert_eq!(text_format(&headers(header::ACCEPT, accept)), wanted, "{name}");
        }
        assert_eq!(text_format(&HeaderMap::new()), TextFormat::Prometheus, "no header");
    }

    #[test]
    fn compresses_for_who_takes_it() {
        for (accept, wanted) in [
            ("gzip", Encoding::Gzip),
            ("deflate, GZIP;q=0.5", Encoding::Gzip),
            ("gzip;q=0, br", Encoding::Identity),
            ("br", Encoding::Identity),
        ] {
            assert_eq!(encoding(&headers(header::ACCEPT_ENCODING, accept)), wanted, "{accept}");
        }
        let text = "hopsight_hop_security 1\n".repeat(1_000);
        let rendered = Rendered::new("text/plain", text.clone(), Encoding::Gzip).unwrap();
        assert!(rendered.body.len() * 10 < text.len());
        let mut read = String::new();
        GzDecoder::new(&*rendered.body).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }
}
