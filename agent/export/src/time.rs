//! Time for people and for logs, in UTC.

use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp, civil::DateTime};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// `2026-11-23T14:35:00.123Z` (RFC 3339); the last moment of the year 9999 for all later ones.
#[must_use]
pub fn rfc3339(unix_seconds: f64) -> String {
    let (whole, millis) = whole_and_millis(unix_seconds);
    let time = SignedDuration::from_secs(whole) + SignedDuration::from_millis(millis);
    format!("{:.3}Z", EPOCH.saturating_add(time))
}

/// Reads what [`rfc3339`] writes.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// `2026-11-23 14:35`; the last minute of the year 9999 for all later ones.
#[must_use]
pub fn minute(unix_seconds: f64) -> String {
    let (whole, _) = whole_and_millis(unix_seconds);
    EPOCH.saturating_add(SignedDuration::from_secs(whole)).strftime("%F %H:%M").to_string()
}

/// `2026-11-23`; the last day of the year 9999 for all later ones.
#[must_use]
pub fn date(unix_seconds: i64) -> String {
    EPOCH.saturating_add(SignedDuration::from_secs(unix_seconds)).date().to_string()
}

/// `12s`, `5m`, `3h`, `2d`: the largest whole unit of a span of seconds.
#[must_use]
pub fn age(seconds: f64) -> String {
    let (seconds, _) = whole_and_millis(seconds.max(0.0));
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "far beyond any clock; `as` saturates")]
fn whole_and_millis(seconds: f64) -> (i64, i64) {
    let millis = (seconds * 1000.0).floor() as i64;
    (millis.div_euclid(1000), millis.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use hopsight_posture::hops::moment::unix_seconds;

    use super::*;

    #[test]
    fn dates() {
        // Checked with `date -u -d @N +%F`.
        for (seconds, want) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_767_225_599, "2025-12-31"),
            (4_107_542_400, "2100-03-01"),
            // What RFC 5280 has certificates say that never expire (section 4.1.2.5).
            (253_402_300_799, "9999-12-31"),
            (i64::MAX, "9999-12-31"),
        ] {
            assert_eq!(date(seconds), want, "{seconds}");
        }
        for (seconds, want) in [
            (1_709_211_909.25, "2024-02-29T13:05:09.250Z"),
            (1_709_211_909.0, "2024-02-29T13:05:09.000Z"),
            (-0.001, "1969-12-31T23:59:59.999Z"),
            (f64::INFINITY, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn ages() {
        for (seconds, want) in
            [(-5.0, "0s"), (59.9, "59s"), (60.0, "1m"), (7199.0, "1h"), (172_800.0, "2d")]
        {
            assert_eq!(age(seconds), want);
        }
    }

    #[test]
    fn written_times_are_read_again() {
        for seconds in [0.0, 951_782_399.125, 951_782_400.0, 1_795_444_500.5, 4_102_444_799.25] {
            let text = rfc3339(seconds);
            let read = parse_rfc3339(&text).map(unix_seconds);
            assert_eq!(read, Some(seconds), "{text}");
        }
        for text in ["", "2026-11-23", "2026-11-23T14:35:00", "2026-13-01T00:00:00.000Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
