//! The agent's own log, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use super::paint::ColorChoice;

/// Starts it: lines of text, or of JSON. The variable `HOPSIGHT_LOG` says what is logged.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("HOPSIGHT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines);
    if json {
        log.json().init();
    } else {
        log.with_target(false).with_ansi(ColorChoice::Auto.for_stderr()).init();
    }
}

/// Standard error, to which each event is one line: what others chose of it may have any number.
struct Lines;

impl io::Write for Lines {
    /// Takes one event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(&one_line(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The text with every end of a line but the last one spelled out.
fn one_line(event: &[u8]) -> Vec<u8> {
    let (text, end) = match event {
        [text @ .., b'\n'] => (text, &b"\n"[..]),
        text => (text, &b""[..]),
    };
    let mut out = Vec::with_capacity(event.len());
    for byte in text {
        match byte {
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            byte => out.push(*byte),
        }
    }
    out.extend(end);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (event, line) in [
            ("INFO all is well\n", "INFO all is well\n"),
            ("WARN a\nINFO forged\r\n", "WARN a\\nINFO forged\\r\n"),
            ("no end", "no end"),
            ("\n\n", "\\n\n"),
        ] {
            assert_eq!(one_line(event.as_bytes()), line.as_bytes(), "{event:?}");
        }
    }
}
