//! Time for people and for logs, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-23T14:35:00.123Z` (RFC 3339).
#[must_use]
pub fn rfc3339(unix_seconds: f64) -> String {
    let (whole, millis) = whole_and_millis(unix_seconds);
    let second = whole.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", date(whole))
}

/// Reads what [`rfc3339`] writes for times since 1970.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, millis) = time.split_once('.')?;
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let days = u64::try_from(days_from_civil(year, month, day)).ok()?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::new(seconds, 0) + Duration::from_millis(millis.parse().ok()?))
}

/// `2026-11-23`.
#[must_use]
pub fn date(unix_seconds: i64) -> String {
    let (year, month, day) = civil_from_days(unix_seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
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

/// Days since 1970-01-01 of a proleptic Gregorian date; the inverse of [`civil_from_days`].
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let year_of_cycle = year.rem_euclid(400);
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_cycle - 719_468
}

/// Proleptic Gregorian year, month and day of a number of days since 1970-01-01.
///
/// Counts in 400-year cycles of 146,097 days, with years that begin on 1 March so that the leap
/// day is the last day of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let since_march_0000 = days + 719_468;
    let cycle = since_march_0000.div_euclid(146_097);
    let day_of_cycle = since_march_0000.rem_euclid(146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use hopsight_core::hops::moment::unix_seconds;

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
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(date(seconds), want, "{seconds}");
        }
        assert_eq!(rfc3339(1_709_211_909.25), "2024-02-29T13:05:09.250Z");
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
        for text in ["", "2026-11-23", "2026-11-23T14:35:00Z", "1960-01-01T00:00:00.000Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
